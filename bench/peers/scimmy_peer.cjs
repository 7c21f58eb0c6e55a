"use strict";
// scimmy behind its routers for Express. Its store is this one: the memory of one process, names in an index.

const express = require("express");
const { default: SCIMMY } = require("scimmy");
const { default: Routers } = require("scimmy-routers");
const { randomUUID } = require("node:crypto");

const users = new Map(), groups = new Map(), ids = new Map(); // the last are those of users, by name
const folded = (name) => name.toLowerCase();

function lookedUp(filter) {
    const [first] = filter ?? [];
    const [how, name] = first?.userName ?? [];
    return filter?.length === 1 && Object.keys(first).length === 1 && how === "eq" ? folded(name) : undefined;
}

/** The page asked for, in a list as long as all of them: the way that scimmy has for stores which turn pages. */
function page(kept, { startIndex = 1, count = 20 } = {}) {
    const all = [...kept.values()];
    if (startIndex > 1 && startIndex <= count) return all; // of these it would cut off the beginning once more
    const found = all.slice(startIndex - 1, startIndex - 1 + count);
    found.length = all.length;
    return found;
}

function stored(kept, id = randomUUID(), instance) {
    const before = kept.get(id), now = new Date().toISOString();
    const meta = { created: before?.meta.created ?? now, lastModified: now };
    const row = { ...JSON.parse(JSON.stringify(instance)), id, meta };
    kept.set(id, row);
    return row;
}

function known(kept, id) {
    if (!kept.has(id)) throw new SCIMMY.Types.Error(404, null, `${id} is not here`);
    return kept.get(id);
}

SCIMMY.Resources.declare(SCIMMY.Resources.User, {
    ingress({ id }, instance) {
        const name = folded(instance.userName), before = id && known(users, id);
        if ((ids.get(name) ?? id) !== id) throw new SCIMMY.Types.Error(409, "uniqueness", "The name is taken");
        if (before) ids.delete(folded(before.userName));
        const row = stored(users, id, instance);
        ids.set(name, row.id);
        return row;
    },
    egress({ id, filter, constraints }) {
        if (id) return known(users, id);
        const name = lookedUp(filter);
        if (name !== undefined) return ids.has(name) ? [users.get(ids.get(name))] : [];
        return filter ? filter.match([...users.values()]) : page(users, constraints);
    },
    degress({ id }) {
        ids.delete(folded(known(users, id).userName));
        users.delete(id);
    },
});

SCIMMY.Resources.declare(SCIMMY.Resources.Group, {
    ingress({ id }, instance) {
        if (id) known(groups, id);
        return stored(groups, id, instance);
    },
    egress({ id, filter, constraints }) {
        if (id) return known(groups, id);
        return filter ? filter.match([...groups.values()]) : page(groups, constraints);
    },
    degress({ id }) {
        known(groups, id);
        groups.delete(id);
    },
});

function handler(request) {
    if (request.get("Authorization") !== "Bearer peer") throw new Error("The token is unknown");
    return "peer";
}

const app = express().disable("etag").disable("x-powered-by");
app.use("/scim/v2", new Routers({ type: "bearer", handler }));
app.listen(Number(process.env.PORT), "127.0.0.1").keepAliveTimeout = 60_000;

"use strict";
// Directory sync of Ory Polis on PostgreSQL, in two processes: one directory, under the path and token of all peers.

const cluster = require("node:cluster");
const http = require("node:http");
const { default: polis } = require("@boxyhq/saml-jackson");

const PROCESSES = 2;
const options = {
    externalUrl: "http://127.0.0.1",
    samlPath: "/saml",
    noAnalytics: true,
    logger: { info() {}, warn() {}, error: console.error },
    db: {
        engine: "sql",
        type: "postgres",
        url: process.env.PEER_DATABASE.replace("@/", "@localhost/"), // it wants a host, and takes the socket
        pageLimit: 100, // or a page would have 50 users; totals end there, too
    },
};

/** Make the tables and the directory, then the others; they listen when all of them can. */
async function begin({ directories }) {
    const { data, error } = await directories.create({ tenant: "bench", product: "peer", type: "okta-scim-v2" });
    if (error) throw new Error(error.message);
    const directory = JSON.stringify({ id: data.id, secret: data.scim.secret });
    const workers = Array.from({ length: PROCESSES }, () => cluster.fork({ PEER_DIRECTORY: directory }));
    await Promise.all(workers.map((worker) => new Promise((done) => worker.once("message", done))));
    for (const worker of workers) worker.send("listen");
}

function serve({ requests }) {
    const directory = JSON.parse(process.env.PEER_DIRECTORY);
    const number = (text) => (text ? Number(text) : undefined);

    async function answered(request, text) {
        const { pathname, searchParams } = new URL(request.url, options.externalUrl);
        const [resourceType, resourceId] = pathname.replace("/scim/v2/", "").split("/");
        const token = request.headers.authorization?.replace("Bearer ", "");
        const asked = {
            method: request.method,
            body: text ? JSON.parse(text) : undefined,
            directoryId: directory.id,
            resourceType,
            resourceId,
            apiSecret: token === "peer" ? directory.secret : token,
            query: {
                count: number(searchParams.get("count")),
                startIndex: number(searchParams.get("startIndex")),
                filter: searchParams.get("filter") ?? undefined,
            },
        };
        return requests.handle(asked, async () => {}); // no webhook for changes
    }

    const server = http.createServer((request, response) => {
        const parts = [];
        request.on("data", (part) => parts.push(part));
        request.on("end", async () => {
            const { status, data } = await answered(request, Buffer.concat(parts).toString()).catch((trouble) => {
                console.error(trouble);
                return { status: 500, data: {} };
            });
            const body = Buffer.from(JSON.stringify(data ?? {}));
            response.writeHead(status, { "Content-Type": "application/scim+json", "Content-Length": body.length });
            response.end(body);
        });
    });
    server.keepAliveTimeout = 60_000;
    process.once("message", () => server.listen(Number(process.env.PORT), "127.0.0.1"));
    process.send("ready");
}

polis(options).then(({ directorySyncController }) =>
    cluster.isPrimary ? begin(directorySyncController) : serve(directorySyncController),
);

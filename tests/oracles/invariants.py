"""What must hold of a database whatever happened: statements that find what contradicts it."""

from __future__ import annotations

from gateway.testing import Deployment
from gateway.testing.engines import is_postgresql

#: What must never be, each with a statement that finds it. Read from the rows, past the code that wrote them.
OFFENCES = {
    "seats in use are not the active users": """
        SELECT * FROM (SELECT o.name, o.seats_used, (SELECT COUNT(*) FROM users u
          WHERE u.organization_id = o.id AND u.active = 1 AND u.deleted = 0) AS active
        FROM organizations o) counted WHERE seats_used <> active""",
    "a deleted user is active": "SELECT uid FROM users WHERE deleted = 1 AND active = 1",
    "event numbers have a gap": """
        SELECT * FROM (SELECT o.name, o.event_seq, COUNT(e.seq) AS n, MIN(e.seq) AS first, MAX(e.seq) AS last
          FROM organizations o LEFT JOIN events e ON e.organization_id = o.id GROUP BY o.id, o.name, o.event_seq) c
        WHERE event_seq <> n OR (n > 0 AND (first <> 1 OR last <> event_seq))""",
    "a tally of users is wrong": """
        SELECT * FROM (SELECT t.organization_id, t.connection, t.n, (SELECT COUNT(*) FROM users u WHERE u.deleted = 0
          AND u.organization_id = t.organization_id AND COALESCE(u.connection_id, 0) = t.connection) AS there
        FROM tallies t WHERE t.resource = 'User') counted WHERE n <> there""",
    "a tally of groups is wrong": """
        SELECT * FROM (SELECT t.organization_id, t.connection, t.n, (SELECT COUNT(*) FROM groups g
          WHERE g.organization_id = t.organization_id AND COALESCE(g.connection_id, 0) = t.connection) AS there
        FROM tallies t WHERE t.resource = 'Group') counted WHERE n <> there""",
    "a block of users is counted wrong": """
        SELECT * FROM (SELECT b.connection_id, b.until, b.n, (SELECT COUNT(*) FROM users u WHERE u.deleted = 0
          AND u.organization_id = b.organization_id AND (u.connection_id = b.connection_id OR u.connection_id IS NULL)
          AND u.id <= b.until AND u.id > (SELECT COALESCE(MAX(p.until), 0) FROM user_blocks p
            WHERE p.connection_id = b.connection_id AND p.until < b.until)) AS there
        FROM user_blocks b) counted WHERE n <> there""",
    "users nobody tallies": """
        SELECT u.uid FROM users u WHERE u.deleted = 0 AND NOT EXISTS (SELECT 1 FROM tallies t
          WHERE t.organization_id = u.organization_id AND t.resource = 'User'
          AND t.connection = COALESCE(u.connection_id, 0))""",
    "groups nobody tallies": """
        SELECT g.uid FROM groups g WHERE NOT EXISTS (SELECT 1 FROM tallies t
          WHERE t.organization_id = g.organization_id AND t.resource = 'Group'
          AND t.connection = COALESCE(g.connection_id, 0))""",
    "a grant is dangling, of a deleted user, or across organizations": """
        SELECT r.group_id, r.user_id, r.source FROM grants r LEFT JOIN users u ON u.id = r.user_id
        LEFT JOIN groups g ON g.id = r.group_id
        WHERE u.id IS NULL OR g.id IS NULL OR u.deleted = 1 OR u.organization_id <> g.organization_id""",
    "a grant has a source that its group cannot have": """
        SELECT g.uid, r.source FROM grants r JOIN groups g ON g.id = r.group_id WHERE
          (r.source = 'push' AND g.connection_id IS NULL) OR (r.source <> 'push' AND g.connection_id IS NOT NULL)""",
    "a member waits for a group that is not there": """
        SELECT w.group_id FROM waiting_members w LEFT JOIN groups g ON g.id = w.group_id WHERE g.id IS NULL""",
    "a mapping rule has no group or no connection, or a group of others": """
        SELECT m.id FROM mapping_rules m LEFT JOIN groups g ON g.id = m.group_id
        LEFT JOIN connections c ON c.id = m.connection_id
        WHERE g.id IS NULL OR c.id IS NULL OR g.connection_id IS NOT NULL OR g.organization_id <> c.organization_id""",
    "a group's number of members is wrong": """
        SELECT * FROM (SELECT g.name, g.members, (SELECT COUNT(DISTINCT user_id) FROM grants r
          WHERE r.group_id = g.id) AS inside FROM groups g) counted WHERE members <> inside""",
    "an address without its user": """
        SELECT e.user_id, e.value_key FROM emails e LEFT JOIN users u
        ON u.id = e.user_id AND u.organization_id = e.organization_id WHERE u.id IS NULL""",
    "a user was created without an event, or with two": """
        SELECT u.uid, made.events FROM users u LEFT JOIN (SELECT organization_id, resource_uid, COUNT(*) AS events
          FROM events WHERE type = 'user.created' GROUP BY organization_id, resource_uid) made
          ON made.resource_uid = u.uid AND made.organization_id = u.organization_id
        WHERE COALESCE(made.events, 0) <> 1""",
    "an event names a user that never was": """
        SELECT e.seq, e.resource_uid FROM events e LEFT JOIN users u ON u.uid = e.resource_uid
        AND u.organization_id = e.organization_id WHERE e.resource = 'User' AND u.id IS NULL""",
}
#: The same of a file.
DAMAGES = {
    "the file is damaged": "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    "a reference leads nowhere": "SELECT * FROM pragma_foreign_key_check",
}


def audit(deployment: Deployment) -> None:
    """Look through a database for everything that must never be."""
    database = deployment.gateway.store.database
    offences = OFFENCES if is_postgresql() else OFFENCES | DAMAGES
    found = {offence: database.all(sql)[:5] for offence, sql in offences.items()}
    assert {offence: rows for offence, rows in found.items() if rows} == {}

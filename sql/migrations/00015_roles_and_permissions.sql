-- +goose Up
INSERT INTO role (name, description) VALUES
    ('admin', 'Everything'),
    ('observer', 'Plans and observes at the telescope'),
    ('viewer', 'Reads, and may ask for staging'),
    ('service', 'Instrument, telescope and transfer programs');

INSERT INTO permission (name, description) VALUES
    ('read:observations', 'Read obs units and executions'),
    ('read:files', 'Read raw data files'),
    ('read:packages', 'Read raw data packages'),
    ('read:sources', 'Read sources and their visibility'),
    ('read:programs', 'Read observing programmes'),
    ('read:instruments', 'Read telescopes, instruments, modules and their configurations'),
    ('read:transfers', 'Read sites, locations, routes, transfers and copies'),
    ('read:staging', 'Read staging jobs'),
    ('read:buffer', 'Read the buffer, its transactions and the state of the sites'),
    ('read:history', 'Read the history of records and the consistency report'),
    ('read:metrics', 'Read the metrics'),
    ('read:audit', 'Read the audit log'),
    ('write:observations', 'Write obs units and executions'),
    ('write:files', 'Register raw data files'),
    ('write:packages', 'Create and finalize raw data packages'),
    ('write:sources', 'Write sources'),
    ('write:programs', 'Write observing programmes'),
    ('write:instruments', 'Write telescopes, instruments, modules and their configurations'),
    ('write:transfers', 'Write transfers and copies'),
    ('write:staging', 'Request and release staging jobs'),
    ('manage:users', 'Manage users, roles and service accounts'),
    ('manage:buffer', 'Retry and discard dead letters, pause and resume the buffer'),
    ('configure:system', 'Configure sites, locations, routes and computed data');

INSERT INTO role_permission (role_id, permission_id)
SELECT r.id, p.id
FROM role r
JOIN permission p ON
    r.name = 'admin'
    OR (p.name LIKE 'read:%' AND p.name <> 'read:audit')
    OR (r.name = 'observer' AND p.name IN ('write:observations', 'write:files', 'write:packages', 'write:sources', 'write:programs', 'write:instruments', 'write:staging'))
    OR (r.name = 'viewer' AND p.name = 'write:staging')
    OR (r.name = 'service' AND p.name IN ('write:observations', 'write:files', 'write:packages', 'write:transfers', 'write:staging'))
WHERE r.name IN ('admin', 'observer', 'viewer', 'service')
ORDER BY r.id, p.id;

-- +goose Down
-- Whoever was given one of these roles loses it with the role.
DELETE FROM role WHERE name IN ('admin', 'observer', 'viewer', 'service');
DELETE FROM permission;

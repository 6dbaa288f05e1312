-- People and services. Roles and permissions are reference rows of the schema; secrets of tokens are made by the
-- program, for none may lie in a file.

INSERT INTO app_user (username, full_name, is_service) VALUES
    ('admin', 'Demo administrator', false),
    ('observer1', 'Observer on the mountain', false),
    ('scientist1', 'Scientist who stages data', false),
    ('svc-primecam', 'Prime-Cam data acquisition', true),
    ('svc-chai', 'CHAI data acquisition', true),
    ('svc-transfer', 'Data transfer workers', true)
ON CONFLICT DO NOTHING;

INSERT INTO user_role (user_id, role_id, granted_at)
SELECT u.id, r.id, now()
FROM (VALUES
    ('admin', 'admin'), ('observer1', 'observer'), ('scientist1', 'viewer'),
    ('svc-primecam', 'service'), ('svc-chai', 'service'), ('svc-transfer', 'service')
) v (username, role)
JOIN app_user u ON u.username = v.username
JOIN role r ON r.name = v.role
ON CONFLICT DO NOTHING;

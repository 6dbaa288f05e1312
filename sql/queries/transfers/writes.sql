-- AddSite adds a site; one of the same short name stays as it is.
-- name: AddSite :execrows
INSERT INTO site (name, short_name, location, is_main, latitude_deg, longitude_deg, created_at, updated_at)
VALUES (@name, @short_name, @location, @is_main, @latitude_deg, @longitude_deg, @created_at, @created_at)
ON CONFLICT (short_name) DO NOTHING;

-- AddSiteStatus gives a site the row that numbers its commits and fences its processors, at their beginning.
-- name: AddSiteStatus :exec
INSERT INTO site_status (site) VALUES (@site) ON CONFLICT (site) DO NOTHING;

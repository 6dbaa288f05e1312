-- +goose Up
-- Buffered tables have no default, trigger or generated value: what a site has
-- queued and shown must be exactly what the primary stores.
CREATE TABLE executed_obs_unit (
    id uuid NOT NULL,
    obs_unit_id bigint NOT NULL,
    azimuth_range_id bigint,
    pre_scheduled_slot_id bigint,
    status execution_status NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    mean_azimuth_deg double precision,
    mean_elevation_deg double precision,
    pwv_mm double precision,
    conditions jsonb NOT NULL,
    comment text NOT NULL,
    recorded_by bigint,
    origin_site_id bigint NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT executed_obs_unit_pkey PRIMARY KEY (id),
    CONSTRAINT executed_obs_unit_obs_unit_id_fkey FOREIGN KEY (obs_unit_id) REFERENCES obs_unit (id),
    CONSTRAINT executed_obs_unit_azimuth_range_id_fkey FOREIGN KEY (azimuth_range_id) REFERENCES obs_unit_azimuth_range (id),
    CONSTRAINT executed_obs_unit_pre_scheduled_slot_id_fkey FOREIGN KEY (pre_scheduled_slot_id) REFERENCES pre_scheduled_slot (id),
    CONSTRAINT executed_obs_unit_recorded_by_fkey FOREIGN KEY (recorded_by) REFERENCES app_user (id),
    CONSTRAINT executed_obs_unit_origin_site_id_fkey FOREIGN KEY (origin_site_id) REFERENCES site (id),
    CONSTRAINT executed_obs_unit_start_time_end_time_check CHECK (end_time >= start_time),
    CONSTRAINT executed_obs_unit_status_end_time_check CHECK ((status = 'running') = (end_time IS NULL))
);
CREATE INDEX executed_obs_unit_start_time_id_idx ON executed_obs_unit (start_time DESC, id DESC);
CREATE INDEX executed_obs_unit_obs_unit_id_start_time_id_idx ON executed_obs_unit (obs_unit_id, start_time DESC, id DESC);
CREATE INDEX executed_obs_unit_running_idx ON executed_obs_unit (start_time DESC, id DESC) WHERE status = 'running';
CREATE INDEX executed_obs_unit_azimuth_range_id_idx ON executed_obs_unit (azimuth_range_id) WHERE azimuth_range_id IS NOT NULL;
CREATE INDEX executed_obs_unit_pre_scheduled_slot_id_idx ON executed_obs_unit (pre_scheduled_slot_id) WHERE pre_scheduled_slot_id IS NOT NULL;
COMMENT ON TABLE executed_obs_unit IS 'One actual observation of a planned obs unit.';
COMMENT ON COLUMN executed_obs_unit.origin_site_id IS 'The site where it was filed.';

CREATE TABLE executed_obs_unit_module (
    executed_obs_unit_id uuid NOT NULL,
    instrument_module_configuration_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT executed_obs_unit_module_pkey PRIMARY KEY (executed_obs_unit_id, instrument_module_configuration_id),
    CONSTRAINT executed_obs_unit_module_executed_obs_unit_id_fkey FOREIGN KEY (executed_obs_unit_id) REFERENCES executed_obs_unit (id) ON DELETE CASCADE,
    CONSTRAINT executed_obs_unit_module_instrument_module_configuration_i_fkey FOREIGN KEY (instrument_module_configuration_id) REFERENCES instrument_module_configuration (id)
);
CREATE INDEX executed_obs_unit_module_configuration_idx ON executed_obs_unit_module (instrument_module_configuration_id);
COMMENT ON TABLE executed_obs_unit_module IS 'Module configurations an execution was observed with.';

-- +goose Down
DROP TABLE executed_obs_unit_module;
DROP TABLE executed_obs_unit;

-- An app's devices are listed the newest first: without this the keys of everybody's devices were walked.
CREATE INDEX devices_of_app ON devices (app_key, device_key) WHERE state <> 5;
-- Switched off and dead ones are few: asked for alone, they are not looked for among all.
CREATE INDEX devices_unusable ON devices (app_key, state, device_key) WHERE state IN (2, 3);

-- The button of the first click.
ALTER TABLE deliveries ADD COLUMN action text;

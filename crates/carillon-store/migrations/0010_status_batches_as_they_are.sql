-- oldest binary: 9
-- Lists of numbers that live for a moment: squeezing them costs more than it saves.
ALTER TABLE status_batches ALTER COLUMN changes SET STORAGE EXTERNAL;

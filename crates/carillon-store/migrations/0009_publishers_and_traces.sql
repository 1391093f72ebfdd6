-- Who published a chunk last and can be seen to be alive; null: nobody that can be seen.
ALTER TABLE chunks ADD COLUMN publisher integer;
-- W3C Trace Context of the call that was accepted, so that what happens later, or after a crash, goes on with it.
ALTER TABLE notifications ADD COLUMN traceparent text;

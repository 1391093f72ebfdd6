-- Whether a run has a cascade that waits, and which: asked whenever one of them ends, so it must not look through those that have.
CREATE INDEX cascades_waiting ON cascades (run_id, link, person_number) WHERE state IN (1, 2);

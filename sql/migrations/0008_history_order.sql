-- A job's history is read in the order of its entries, one page at a time: without this index each
-- page sorts all events of the job. Consumers wait while it is built, and catch up then.
CREATE INDEX job_events_in_order ON job_events (tenant, kind, id, entry_ms, entry_seq);

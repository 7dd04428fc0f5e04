-- Only for the generator of typed queries, never for a database: it does not know the columns that
-- every table has. The hot queries lock rows first and then delete them by their place, because a join
-- against the table would be planned by statistics that are wrong for queues, which are empty one
-- moment and full the next.
ALTER TABLE wake ADD COLUMN ctid tid NOT NULL;
ALTER TABLE ready ADD COLUMN ctid tid NOT NULL;
ALTER TABLE live ADD COLUMN ctid tid NOT NULL;
ALTER TABLE waiter ADD COLUMN ctid tid NOT NULL;
ALTER TABLE open_run ADD COLUMN ctid tid NOT NULL;
ALTER TABLE http_wait ADD COLUMN ctid tid NOT NULL;

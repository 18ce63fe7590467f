-- Results pass through segments and are deleted when their batch has ended.
-- With the delays that autovacuum makes by default it takes minutes to give
-- their space back, in which as much again is written behind it.
ALTER TABLE segments SET (autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_cost_delay = 0);

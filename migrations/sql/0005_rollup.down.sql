-- Forgets what was being computed. Complete hours and days stay, the others are computed again after the next way up.

DROP TABLE rollup_leader;
DROP TABLE rollup_progress;
ALTER TABLE rollup_watermarks DROP COLUMN computing_before;

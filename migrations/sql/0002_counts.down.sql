-- destroys data

DROP TABLE day_counts;
DROP TABLE hour_counts;
DROP TABLE minute_counts;

-- The schema itself stays: it may hold what is not ours.

DROP VIEW analytics.freshness;
DROP VIEW analytics.counts_per_day;
DROP VIEW analytics.counts_per_hour;
DROP VIEW analytics.counts_per_minute;
DROP VIEW analytics.event_types;

-- What analysts see: names instead of ids, one row a key, event type and time, nothing internal. Who may read the schema
-- needs no right on the tables. A shard answers for its own keys only: query every shard.

CREATE DATABASE IF NOT EXISTS analytics;

CREATE SQL SECURITY DEFINER VIEW analytics.event_types AS
SELECT t.name AS event_type, t.unit AS unit, t.description AS description
FROM event_types t;

CREATE SQL SECURITY DEFINER VIEW analytics.counts_per_minute AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, m.start AS start,
       m.event_count AS event_count, m.value_count AS value_count, m.value_sum AS value_sum,
       m.value_sum / NULLIF(m.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, m.value_min) AS value_min, IF(t.allow_negative, NULL, m.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN minute_counts m ON m.key_id = k.id
JOIN event_types t ON t.id = m.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id;

-- Hours and days: the coarse table before its watermark, sums of minutes from there on. Both in one statement, so in one snapshot.

CREATE SQL SECURITY DEFINER VIEW analytics.counts_per_hour AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, h.start AS start,
       h.event_count AS event_count, h.value_count AS value_count, h.value_sum AS value_sum,
       h.value_sum / NULLIF(h.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, h.value_min) AS value_min, IF(t.allow_negative, NULL, h.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN hour_counts h ON h.key_id = k.id AND h.start < (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'hour')
JOIN event_types t ON t.id = h.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
UNION ALL
SELECT t.name, k.name, k.title, o.name, m.start - INTERVAL MINUTE(m.start) MINUTE AS hour_start,
       SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum),
       SUM(m.value_sum) / NULLIF(SUM(m.value_count), 0),
       IF(MAX(t.allow_negative), NULL, MIN(m.value_min)), IF(MAX(t.allow_negative), NULL, MAX(m.value_max))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN minute_counts m ON m.key_id = k.id AND m.start >= (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'hour')
JOIN event_types t ON t.id = m.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
GROUP BY t.name, k.name, k.title, o.name, hour_start;

CREATE SQL SECURITY DEFINER VIEW analytics.counts_per_day AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, d.start AS start,
       d.event_count AS event_count, d.value_count AS value_count, d.value_sum AS value_sum,
       d.value_sum / NULLIF(d.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, d.value_min) AS value_min, IF(t.allow_negative, NULL, d.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN day_counts d ON d.key_id = k.id AND d.start < (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'day')
JOIN event_types t ON t.id = d.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
UNION ALL
SELECT t.name, k.name, k.title, o.name, TIMESTAMP(DATE(m.start)) AS day_start,
       SUM(m.event_count), SUM(m.value_count), SUM(m.value_sum),
       SUM(m.value_sum) / NULLIF(SUM(m.value_count), 0),
       IF(MAX(t.allow_negative), NULL, MIN(m.value_min)), IF(MAX(t.allow_negative), NULL, MAX(m.value_max))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN minute_counts m ON m.key_id = k.id AND m.start >= (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'day')
JOIN event_types t ON t.id = m.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
GROUP BY t.name, k.name, k.title, o.name, day_start;

-- Everything accepted before counted_before is in the counts of this shard as seen here; NULL until something was counted.

CREATE SQL SECURITY DEFINER VIEW analytics.freshness AS
SELECT TIMESTAMPADD(MICROSECOND, NULLIF(MIN(c.as_of), 0) * 1000, '1970-01-01 00:00:00.000000') AS counted_before,
       TIMESTAMPDIFF(MICROSECOND, TIMESTAMPADD(MICROSECOND, NULLIF(MIN(c.as_of), 0) * 1000, '1970-01-01 00:00:00.000000'), UTC_TIMESTAMP(6)) / 1000000 AS seconds_behind
FROM checkpoints c
WHERE c.owned;

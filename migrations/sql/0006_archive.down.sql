-- Refuses while something is frozen, late or in cold storage: going back would forget it. The refusal changes nothing.

INSERT INTO archive_marks (resolution, frozen_before, cold_before)
SELECT 'gone', '1970-01-01', '1970-01-01' FROM archive_marks
WHERE frozen_before > '1970-01-01' OR EXISTS (SELECT 1 FROM archive_manifest) LIMIT 1;

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_minute AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, m.start AS start,
       m.event_count AS event_count, m.value_count AS value_count, m.value_sum AS value_sum,
       m.value_sum / NULLIF(m.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, m.value_min) AS value_min, IF(t.allow_negative, NULL, m.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN minute_counts m ON m.key_id = k.id
JOIN event_types t ON t.id = m.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id;

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_hour AS
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

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_day AS
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

DROP VIEW analytics.retention;

DROP TABLE archive_marks;
DROP TABLE archive_intents;
DROP TABLE archive_manifest;
DROP TABLE restored_day_counts;
DROP TABLE restored_hour_counts;
DROP TABLE restored_minute_counts;
DROP TABLE restored_ranges;
DROP TABLE late_day_counts;
DROP TABLE late_hour_counts;
DROP TABLE late_minute_counts;

CREATE TABLE archive_manifest (
  id              BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  partition_id    SMALLINT UNSIGNED NOT NULL,
  resolution      VARCHAR(8)        NOT NULL,
  range_start     DATETIME          NOT NULL COMMENT 'UTC, inclusive',
  range_end       DATETIME          NOT NULL COMMENT 'UTC, exclusive',
  object          VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'name in cold storage, never used twice',
  row_count       BIGINT UNSIGNED   NOT NULL,
  event_count_sum DECIMAL(38,0)     NOT NULL,
  value_count_sum DECIMAL(38,0)     NOT NULL,
  value_sum_sum   DECIMAL(38,0)     NOT NULL,
  checksum        VARBINARY(32)     NOT NULL COMMENT 'SHA-256 of the object',
  state           VARCHAR(16)       NOT NULL COMMENT 'intent before the object is written, stored, verified, retired',
  PRIMARY KEY (id),
  UNIQUE KEY archive_manifest_object (object),
  KEY archive_manifest_range (partition_id, resolution, range_start),
  CONSTRAINT archive_manifest_partition FOREIGN KEY (partition_id) REFERENCES checkpoints (partition_id),
  CONSTRAINT archive_manifest_state CHECK (state IN ('intent', 'stored', 'verified', 'retired'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Objects in cold storage that hold rows which left the tables.';

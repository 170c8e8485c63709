-- Cold storage: how far detail has left the tables, what late events add to it since, which objects hold it, and what was brought back.
-- docs/archive.md tells the protocol.

CREATE TABLE late_minute_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_minute_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to minutes after they were frozen. Not partitioned: no row of any age may fall outside.';

CREATE TABLE late_hour_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_hour_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to hours after they were frozen.';

CREATE TABLE late_day_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  late_round    INT UNSIGNED      NOT NULL,
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start, late_round),
  KEY late_day_counts_start (start, late_round)
) ENGINE=InnoDB
  COMMENT='What was added to days after they were frozen.';

CREATE TABLE restored_ranges (
  id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  resolution  VARCHAR(8)      NOT NULL,
  range_start DATETIME        NOT NULL COMMENT 'UTC, inclusive',
  range_end   DATETIME        NOT NULL COMMENT 'UTC, exclusive',
  state       VARCHAR(16)     NOT NULL COMMENT 'loading, ready, releasing',
  changed_at  DATETIME        NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  CONSTRAINT restored_ranges_resolution CHECK (resolution IN ('minute', 'hour', 'day')),
  CONSTRAINT restored_ranges_state CHECK (state IN ('loading', 'ready', 'releasing'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Ranges that were brought back from cold storage. Ready ones are read from the restored tables, late rows besides.';

CREATE TABLE restored_minute_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_minute_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Minutes brought back from cold storage.';

CREATE TABLE restored_hour_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_hour_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Hours brought back from cold storage.';

CREATE TABLE restored_day_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL,
  value_count   BIGINT            NULL,
  value_sum     DECIMAL(38,0)     NULL,
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start),
  KEY restored_day_counts_start (start)
) ENGINE=InnoDB
  COMMENT='Days brought back from cold storage.';

-- Nothing was ever written to the manifest of the first design.
DROP TABLE archive_manifest;

CREATE TABLE archive_manifest (
  id              BIGINT UNSIGNED   NOT NULL AUTO_INCREMENT,
  partition_id    SMALLINT UNSIGNED NOT NULL,
  resolution      VARCHAR(8)        NOT NULL,
  range_start     DATETIME          NOT NULL COMMENT 'UTC, inclusive: a day',
  range_end       DATETIME          NOT NULL COMMENT 'UTC, exclusive',
  object          VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'name in cold storage, never used twice',
  byte_size       BIGINT UNSIGNED   NOT NULL COMMENT 'of the whole object',
  checksum        VARBINARY(32)     NOT NULL COMMENT 'SHA-256 of the whole object',
  row_count       BIGINT UNSIGNED   NOT NULL COMMENT 'rows of this partition in the object, like the sums',
  event_count_sum DECIMAL(38,0)     NOT NULL,
  value_count_sum DECIMAL(38,0)     NOT NULL,
  value_sum_sum   DECIMAL(38,0)     NOT NULL,
  state           VARCHAR(16)       NOT NULL COMMENT 'stored: to be read; retired: replaced by others, to be deleted',
  changed_at      DATETIME          NOT NULL COMMENT 'UTC',
  PRIMARY KEY (id),
  UNIQUE KEY archive_manifest_object (object, partition_id),
  KEY archive_manifest_range (partition_id, resolution, range_start),
  KEY archive_manifest_day (resolution, range_start),
  CONSTRAINT archive_manifest_partition FOREIGN KEY (partition_id) REFERENCES checkpoints (partition_id),
  CONSTRAINT archive_manifest_state CHECK (state IN ('stored', 'retired'))
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='What is in cold storage: one row an object and partition. A partition that moves takes its rows along.';

CREATE TABLE archive_intents (
  object     VARCHAR(512) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at DATETIME NOT NULL COMMENT 'UTC',
  PRIMARY KEY (object)
) ENGINE=InnoDB
  COMMENT='Objects that are about to be written. An object that is neither here nor in a manifest is an orphan.';

-- Last, and at once with its rows: roles that find the marks rely on all the rest.

CREATE TABLE archive_marks_to_be (
  resolution    VARCHAR(8)   NOT NULL,
  frozen_before DATETIME     NOT NULL COMMENT 'UTC; rows of this resolution that start before it never change again, additions go to the late table',
  cold_before   DATETIME     NOT NULL COMMENT 'UTC, at most frozen_before; rows that start before it are read from cold storage',
  late_round    INT UNSIGNED NOT NULL DEFAULT 1 COMMENT 'in which rows are added to the late table; those of earlier rounds never change again',
  version       BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'grows whenever restored_ranges change',
  PRIMARY KEY (resolution),
  CONSTRAINT going_back_would_forget_what_is_archived CHECK (resolution <> 'gone'),
  CONSTRAINT archive_marks_resolution CHECK (resolution IN ('minute', 'hour', 'day')),
  CONSTRAINT archive_marks_order CHECK (cold_before <= frozen_before)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80000 COLLATE utf8mb4_0900_bin */
  COMMENT='Where each resolution is to be read: cold storage before cold_before, its table from there on, the late table besides.';

INSERT INTO archive_marks_to_be (resolution, frozen_before, cold_before)
VALUES ('minute', '1970-01-01', '1970-01-01'), ('hour', '1970-01-01', '1970-01-01'), ('day', '1970-01-01', '1970-01-01');

RENAME TABLE archive_marks_to_be TO archive_marks;

-- What analysts see of a resolution: the rows that still change, which are single and complete; and what was brought back, each row with what was
-- added to it since it was frozen. What lies between is in cold storage, or about to go there: the view retention tells from when on all is here.

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_minute AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, m.start AS start,
       m.event_count AS event_count, m.value_count AS value_count, m.value_sum AS value_sum,
       m.value_sum / NULLIF(m.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, m.value_min) AS value_min, IF(t.allow_negative, NULL, m.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN minute_counts m ON m.key_id = k.id AND m.start >= (SELECT a.frozen_before FROM archive_marks a WHERE a.resolution = 'minute')
JOIN event_types t ON t.id = m.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
UNION ALL
SELECT t.name, k.name, k.title, o.name, r.start,
       MAX(r.event_count) + COALESCE(SUM(l.event_count), 0),
       COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum))
         / NULLIF(COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)), 0),
       IF(t.allow_negative, NULL, COALESCE(LEAST(MAX(r.value_min), MIN(l.value_min)), MAX(r.value_min), MIN(l.value_min))),
       IF(t.allow_negative, NULL, COALESCE(GREATEST(MAX(r.value_max), MAX(l.value_max)), MAX(r.value_max), MAX(l.value_max)))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN restored_minute_counts r ON r.key_id = k.id
LEFT JOIN late_minute_counts l ON l.key_id = r.key_id AND l.event_type_id = r.event_type_id AND l.start = r.start
JOIN event_types t ON t.id = r.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'minute' AND g.state = 'ready' AND g.range_start <= r.start AND g.range_end > r.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, r.start
UNION ALL
SELECT t.name, k.name, k.title, o.name, l.start,
       SUM(l.event_count), SUM(l.value_count), SUM(l.value_sum),
       SUM(l.value_sum) / NULLIF(SUM(l.value_count), 0),
       IF(t.allow_negative, NULL, MIN(l.value_min)), IF(t.allow_negative, NULL, MAX(l.value_max))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN late_minute_counts l ON l.key_id = k.id
LEFT JOIN restored_minute_counts r ON r.key_id = l.key_id AND r.event_type_id = l.event_type_id AND r.start = l.start
JOIN event_types t ON t.id = l.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE r.key_id IS NULL AND EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'minute' AND g.state = 'ready' AND g.range_start <= l.start AND g.range_end > l.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, l.start;

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_hour AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, h.start AS start,
       h.event_count AS event_count, h.value_count AS value_count, h.value_sum AS value_sum,
       h.value_sum / NULLIF(h.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, h.value_min) AS value_min, IF(t.allow_negative, NULL, h.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN hour_counts h ON h.key_id = k.id AND h.start >= (SELECT a.frozen_before FROM archive_marks a WHERE a.resolution = 'hour') AND h.start < (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'hour')
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
GROUP BY t.name, k.name, k.title, o.name, hour_start
UNION ALL
SELECT t.name, k.name, k.title, o.name, r.start,
       MAX(r.event_count) + COALESCE(SUM(l.event_count), 0),
       COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum))
         / NULLIF(COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)), 0),
       IF(t.allow_negative, NULL, COALESCE(LEAST(MAX(r.value_min), MIN(l.value_min)), MAX(r.value_min), MIN(l.value_min))),
       IF(t.allow_negative, NULL, COALESCE(GREATEST(MAX(r.value_max), MAX(l.value_max)), MAX(r.value_max), MAX(l.value_max)))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN restored_hour_counts r ON r.key_id = k.id
LEFT JOIN late_hour_counts l ON l.key_id = r.key_id AND l.event_type_id = r.event_type_id AND l.start = r.start
JOIN event_types t ON t.id = r.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'hour' AND g.state = 'ready' AND g.range_start <= r.start AND g.range_end > r.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, r.start
UNION ALL
SELECT t.name, k.name, k.title, o.name, l.start,
       SUM(l.event_count), SUM(l.value_count), SUM(l.value_sum),
       SUM(l.value_sum) / NULLIF(SUM(l.value_count), 0),
       IF(t.allow_negative, NULL, MIN(l.value_min)), IF(t.allow_negative, NULL, MAX(l.value_max))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN late_hour_counts l ON l.key_id = k.id
LEFT JOIN restored_hour_counts r ON r.key_id = l.key_id AND r.event_type_id = l.event_type_id AND r.start = l.start
JOIN event_types t ON t.id = l.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE r.key_id IS NULL AND EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'hour' AND g.state = 'ready' AND g.range_start <= l.start AND g.range_end > l.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, l.start;

CREATE OR REPLACE SQL SECURITY DEFINER VIEW analytics.counts_per_day AS
SELECT t.name AS event_type, k.name AS counted_key, k.title AS title, o.name AS owner, d.start AS start,
       d.event_count AS event_count, d.value_count AS value_count, d.value_sum AS value_sum,
       d.value_sum / NULLIF(d.value_count, 0) AS value_avg,
       IF(t.allow_negative, NULL, d.value_min) AS value_min, IF(t.allow_negative, NULL, d.value_max) AS value_max
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN day_counts d ON d.key_id = k.id AND d.start >= (SELECT a.frozen_before FROM archive_marks a WHERE a.resolution = 'day') AND d.start < (SELECT w.complete_before FROM rollup_watermarks w WHERE w.resolution = 'day')
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
GROUP BY t.name, k.name, k.title, o.name, day_start
UNION ALL
SELECT t.name, k.name, k.title, o.name, r.start,
       MAX(r.event_count) + COALESCE(SUM(l.event_count), 0),
       COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum)),
       COALESCE(MAX(r.value_sum) + SUM(l.value_sum), MAX(r.value_sum), SUM(l.value_sum))
         / NULLIF(COALESCE(MAX(r.value_count) + SUM(l.value_count), MAX(r.value_count), SUM(l.value_count)), 0),
       IF(t.allow_negative, NULL, COALESCE(LEAST(MAX(r.value_min), MIN(l.value_min)), MAX(r.value_min), MIN(l.value_min))),
       IF(t.allow_negative, NULL, COALESCE(GREATEST(MAX(r.value_max), MAX(l.value_max)), MAX(r.value_max), MAX(l.value_max)))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN restored_day_counts r ON r.key_id = k.id
LEFT JOIN late_day_counts l ON l.key_id = r.key_id AND l.event_type_id = r.event_type_id AND l.start = r.start
JOIN event_types t ON t.id = r.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'day' AND g.state = 'ready' AND g.range_start <= r.start AND g.range_end > r.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, r.start
UNION ALL
SELECT t.name, k.name, k.title, o.name, l.start,
       SUM(l.event_count), SUM(l.value_count), SUM(l.value_sum),
       SUM(l.value_sum) / NULLIF(SUM(l.value_count), 0),
       IF(t.allow_negative, NULL, MIN(l.value_min)), IF(t.allow_negative, NULL, MAX(l.value_max))
FROM counted_keys k
JOIN checkpoints c ON c.partition_id = k.partition_id AND c.owned
JOIN late_day_counts l ON l.key_id = k.id
LEFT JOIN restored_day_counts r ON r.key_id = l.key_id AND r.event_type_id = l.event_type_id AND r.start = l.start
JOIN event_types t ON t.id = l.event_type_id
LEFT JOIN owners o ON o.id = k.owner_id
WHERE r.key_id IS NULL AND EXISTS (SELECT 1 FROM restored_ranges g
              WHERE g.resolution = 'day' AND g.state = 'ready' AND g.range_start <= l.start AND g.range_end > l.start)
GROUP BY t.name, k.id, k.name, k.title, o.name, t.allow_negative, l.start;

CREATE SQL SECURITY DEFINER VIEW analytics.retention AS
SELECT a.resolution AS resolution, a.frozen_before AS kept_from, a.cold_before AS archived_before
FROM archive_marks a;

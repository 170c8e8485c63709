-- The counts, at three resolutions, partitioned by time. A partitioned table can't carry foreign keys: key_id and event_type_id
-- refer to counted_keys and event_types, which Apply makes sure of. Each table starts with a partition that nothing can fall
-- into; the shard proxies add those that are needed, ahead of need and on demand, always at the end.

CREATE TABLE minute_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL COMMENT 'sum of weights',
  value_count   BIGINT            NULL     COMMENT 'sum of weights of the events with a value; NULL if there was none',
  value_sum     DECIMAL(38,0)     NULL     COMMENT 'sum of weight times value',
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start)
) ENGINE=InnoDB
  COMMENT='What happened to a key in one minute.'
  PARTITION BY RANGE COLUMNS (start) (
    PARTITION before_time VALUES LESS THAN ('1970-01-01 00:00:00')
  );

CREATE TABLE hour_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL COMMENT 'sum of weights',
  value_count   BIGINT            NULL     COMMENT 'sum of weights of the events with a value; NULL if there was none',
  value_sum     DECIMAL(38,0)     NULL     COMMENT 'sum of weight times value',
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start)
) ENGINE=InnoDB
  COMMENT='What happened to a key in one hour, complete before the watermark "hour".'
  PARTITION BY RANGE COLUMNS (start) (
    PARTITION before_time VALUES LESS THAN ('1970-01-01 00:00:00')
  );

CREATE TABLE day_counts (
  key_id        BIGINT UNSIGNED   NOT NULL,
  event_type_id SMALLINT UNSIGNED NOT NULL,
  start         DATETIME          NOT NULL COMMENT 'UTC',
  event_count   BIGINT            NOT NULL COMMENT 'sum of weights',
  value_count   BIGINT            NULL     COMMENT 'sum of weights of the events with a value; NULL if there was none',
  value_sum     DECIMAL(38,0)     NULL     COMMENT 'sum of weight times value',
  value_min     BIGINT            NULL,
  value_max     BIGINT            NULL,
  PRIMARY KEY (key_id, event_type_id, start)
) ENGINE=InnoDB
  COMMENT='What happened to a key in one day (UTC), complete before the watermark "day".'
  PARTITION BY RANGE COLUMNS (start) (
    PARTITION before_time VALUES LESS THAN ('1970-01-01 00:00:00')
  );

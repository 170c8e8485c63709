package config

import "time"

// Ingest configures the role that takes events in and keeps the log.
type Ingest struct {
	Listen         string        `yaml:"listen"`
	Advertise      string        `yaml:"advertise"`
	LogDir         string        `yaml:"log_dir"`
	SegmentSize    Size          `yaml:"segment_size" range:"1MiB..1GiB"`
	MaxBytes       Size          `yaml:"max_bytes" range:"64MiB..1024TiB"`
	CacheBytes     Size          `yaml:"cache_bytes" range:"1MiB..64GiB"`
	Retention      time.Duration `yaml:"retention" range:"0s..3650d"`
	TrimInterval   time.Duration `yaml:"trim_interval" range:"100ms..1d"`
	CommitDelay    time.Duration `yaml:"commit_delay" range:"0s..1s"`
	CommitSize     Size          `yaml:"commit_size" range:"4KiB..8MiB"`
	AppendTimeout  time.Duration `yaml:"append_timeout" range:"100ms..5m"`
	MaxInFlight    Size          `yaml:"max_in_flight" range:"16MiB..64GiB"`
	MaxBody        Size          `yaml:"max_body" range:"1KiB..64MiB"`
	MaxEvents      int           `yaml:"max_events" range:"1..100000"`
	AcceptAhead    time.Duration `yaml:"accept_ahead" range:"1ms..1d"`
	WindowMaxIDs   int64         `yaml:"window_max_ids" range:"1000..10000000000"`
	IdempotencyMax int           `yaml:"idempotency_max" range:"1..10000000"`
}

// Writer configures the role that counts.
type Writer struct {
	Listen           string        `yaml:"listen"`
	Advertise        string        `yaml:"advertise"`
	WindowMaxBytes   Size          `yaml:"window_max_bytes" range:"16MiB..1TiB"`
	FlushInterval    time.Duration `yaml:"flush_interval" range:"10ms..1m"`
	MaxFlushInterval time.Duration `yaml:"max_flush_interval" range:"10ms..10m"`
	MaxRows          int           `yaml:"max_rows" range:"100..100000"`
	FlushesPerShard  int           `yaml:"flushes_per_shard" range:"1..64"`
	FlushTimeout     time.Duration `yaml:"flush_timeout" range:"100ms..5m"`
	Drain            time.Duration `yaml:"drain" range:"0s..5m"`
	ReadBytes        Size          `yaml:"read_bytes" range:"64KiB..64MiB"`
	ReadInterval     time.Duration `yaml:"read_interval" range:"1ms..10s"`
	ReadTimeout      time.Duration `yaml:"read_timeout" range:"100ms..1m"`
	DeadLetterDir    string        `yaml:"dead_letter_dir"`
}

// ClusterProxy configures the router.
type ClusterProxy struct {
	Listen        string        `yaml:"listen"`
	Advertise     string        `yaml:"advertise"`
	ReadTimeout   time.Duration `yaml:"read_timeout" range:"10ms..5m"`
	ApplyTimeout  time.Duration `yaml:"apply_timeout" range:"100ms..5m"`
	Attempts      int           `yaml:"attempts" range:"1..10"`
	MaxInFlight   int           `yaml:"max_in_flight" range:"1..100000"`
	CallerShare   int           `yaml:"caller_share" range:"1..100"`
	HedgePercent  int           `yaml:"hedge_percent" range:"0..20"`
	EjectFor      time.Duration `yaml:"eject_for" range:"100ms..10m"`
	MaxApplyBytes Size          `yaml:"max_apply_bytes" range:"32MiB..64GiB"`
}

// ShardProxy configures the guard of one shard.
type ShardProxy struct {
	Listen             string        `yaml:"listen"`
	Advertise          string        `yaml:"advertise"`
	Shard              string        `yaml:"shard"`
	MaxLag             time.Duration `yaml:"max_lag" range:"10ms..1d"`
	ApplyTimeout       time.Duration `yaml:"apply_timeout" range:"100ms..5m"`
	PointTimeout       time.Duration `yaml:"point_timeout" range:"10ms..5m"`
	SeriesTimeout      time.Duration `yaml:"series_timeout" range:"10ms..5m"`
	ScanTimeout        time.Duration `yaml:"scan_timeout" range:"10ms..5m"`
	AdminTimeout       time.Duration `yaml:"admin_timeout" range:"10ms..5m"`
	AnalystTimeout     time.Duration `yaml:"analyst_timeout" range:"10ms..5m"`
	ApplyConnections   int           `yaml:"apply_connections" range:"1..64"`
	ReadConnections    int           `yaml:"read_connections" range:"1..1000"`
	AnalystConnections int           `yaml:"analyst_connections" range:"1..100"`
	CachedKeys         int           `yaml:"cached_keys" range:"1000..100000000"`
	ThrottleLag        time.Duration `yaml:"throttle_lag" range:"0s..1d"`
	ThrottleSlowdown   int           `yaml:"throttle_slowdown" range:"0..100"`
	CacheBytes         Size          `yaml:"cache_bytes" range:"0B..1TiB"`
	CacheOpen          time.Duration `yaml:"cache_open" range:"1ms..1m"`
	CacheWaiters       int           `yaml:"cache_waiters" range:"1..100000"`
	ProbeInterval      time.Duration `yaml:"probe_interval" range:"50ms..1m"`
	ProbeTimeout       time.Duration `yaml:"probe_timeout" range:"50ms..1m"`
	PartitionInterval  time.Duration `yaml:"partition_interval" range:"1s..1h"`
	DatabaseTLS        string        `yaml:"database_tls" oneof:"off verify"`
}

// Reader configures the role that answers questions.
type Reader struct {
	Listen       string        `yaml:"listen"`
	Advertise    string        `yaml:"advertise"`
	Timeout      time.Duration `yaml:"timeout" range:"100ms..5m"`
	MaxWait      time.Duration `yaml:"max_wait" range:"0s..1m"`
	Questions    int           `yaml:"questions" range:"1..100000"`
	Waits        int           `yaml:"waits" range:"1..100000"`
	SeriesPoints int           `yaml:"series_points" range:"1..50000"`
	BatchPoints  int           `yaml:"batch_points" range:"1..50000"`
	BatchQueries int           `yaml:"batch_queries" range:"1..1000"`
	BatchBytes   Size          `yaml:"batch_bytes" range:"1KiB..64MiB"`
	SQLQuestions int           `yaml:"sql_questions" range:"1..1000"`
	SQLTimeout   time.Duration `yaml:"sql_timeout" range:"100ms..10m"`

	CacheBytes Size `yaml:"cache_bytes" range:"0B..1TiB"`

	ColdTimeout       time.Duration `yaml:"cold_timeout" range:"100ms..5m"`
	ColdMaxBytes      Size          `yaml:"cold_max_bytes" range:"1MiB..1TiB"`
	ColdParallel      int           `yaml:"cold_parallel" range:"1..1000"`
	ColdQuestions     int           `yaml:"cold_questions" range:"1..100000"`
	ColdCacheDir      string        `yaml:"cold_cache_dir"`
	ColdCacheBytes    Size          `yaml:"cold_cache_bytes" range:"0B..1024TiB"`
	SegmentCacheBytes Size          `yaml:"segment_cache_bytes" range:"0B..1TiB"`
	FooterCacheBytes  Size          `yaml:"footer_cache_bytes" range:"0B..1TiB"`
}

// Rollup configures the role that adds up minutes to hours and hours to days.
type Rollup struct {
	Listen    string        `yaml:"listen"`
	Advertise string        `yaml:"advertise"`
	Delay     time.Duration `yaml:"delay" range:"0s..30d"`
	Interval  time.Duration `yaml:"interval" range:"100ms..1h"`
	ChunkRows int           `yaml:"chunk_rows" range:"100..100000"`
	Pause     time.Duration `yaml:"pause" range:"0s..1m"`
	Ranked    int           `yaml:"ranked_keys" range:"10..10000"`
}

// Failover configures the role that changes the primary of a shard when it is lost.
type Failover struct {
	Listen      string        `yaml:"listen"`
	Advertise   string        `yaml:"advertise"`
	Automatic   bool          `yaml:"automatic"`
	Interval    time.Duration `yaml:"interval" range:"50ms..1m"`
	Confirm     time.Duration `yaml:"confirm" range:"0s..1h"`
	Silence     time.Duration `yaml:"silence" range:"2s..10m"`
	Timeout     time.Duration `yaml:"timeout" range:"50ms..1m"`
	Fence       time.Duration `yaml:"fence" range:"50ms..1m"`
	CatchUp     time.Duration `yaml:"catch_up" range:"0s..1h"`
	Drain       time.Duration `yaml:"drain" range:"100ms..1h"`
	Rejoin      time.Duration `yaml:"rejoin" range:"100ms..1h"`
	Rebuild     bool          `yaml:"automatic_rebuild"`
	AcrossZones bool          `yaml:"across_zones"`
	MaxAtOnce   int           `yaml:"max_at_once" range:"1..1000"`
	Pause       time.Duration `yaml:"pause" range:"1s..7d"`
	MaxPerShard int           `yaml:"max_per_shard" range:"1..20"`
	Period      time.Duration `yaml:"period" range:"1m..30d"`
}

// Retention says how long the shards keep counts; 0 is for ever.
type Retention struct {
	Minutes time.Duration `yaml:"minutes" range:"0s..36500d"`
	Hours   time.Duration `yaml:"hours" range:"0s..36500d"`
	Days    time.Duration `yaml:"days" range:"0s..36500d"`
}

// Archive configures cold storage.
type Archive struct {
	URL            string        `yaml:"url"`
	FileRows       int           `yaml:"file_rows" range:"1000..10000000"`
	PartitionGroup int           `yaml:"partition_group" range:"1..65536"`
	Interval       time.Duration `yaml:"interval" range:"100ms..1d"`
	Settle         time.Duration `yaml:"settle" range:"0s..30d"`
	LateInterval   time.Duration `yaml:"late_interval" range:"1s..365d"`
	DropDelay      time.Duration `yaml:"drop_delay" range:"0s..30d"`
	DeleteGrace    time.Duration `yaml:"delete_grace" range:"1m..3650d"`
	MaxFilesPerDay int           `yaml:"max_files_per_day" range:"2..1000"`
	Raw            string        `yaml:"raw" oneof:"on off"`
	RawAfter       time.Duration `yaml:"raw_after" range:"1s..30d"`
	RawKeep        time.Duration `yaml:"raw_keep" range:"1d..3650d"`
	RawRate        int           `yaml:"raw_rate" range:"0..100000000"`
}

// Migrate configures quipu migrate.
type Migrate struct {
	LockTimeout time.Duration `yaml:"lock_timeout" range:"1s..1h"`
}

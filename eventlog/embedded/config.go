package embedded

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of Config.
const (
	DefaultMaxBytes     = 20 << 30
	DefaultSegmentBytes = 32 << 20
	DefaultCacheBytes   = 64 << 20
)

// Config says where a log lives and how much it may hold.
type Config struct {
	Dir        string
	Partitions int // fixed when the log is created

	MaxBytes     int64 // bound of all segment files together; at it, Append returns eventlog.ErrFull. Default 20 GiB
	SegmentBytes int   // a segment is sealed when it reaches this size: what Trim frees comes in such pieces. Default 32 MiB
	CacheBytes   int64 // bound of the recent records kept in memory, over all partitions. Default 64 MiB

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics are registered
	Now        func() time.Time      // default time.Now
}

func (c Config) withDefaults() Config {
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = DefaultSegmentBytes
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

package wire

// Paths of the event log, served by the role that owns it.
const (
	PathLogRead   = "/internal/v1/log/read"   // GET ?partition=&from=&max_bytes=&wait_ms= → an encoded chunk; unavailable, trimmed, beyond_end, not_found
	PathLogSeek   = "/internal/v1/log/seek"   // GET ?partition=&append_time_ms= → LogOffset
	PathLogBounds = "/internal/v1/log/bounds" // GET ?partition= → LogBounds
	PathLogHold   = "/internal/v1/log/hold"   // GET → LogHold; POST LogArchived → LogHold; conflict: another log, beyond_end
)

// Bounds of a read of the log.
const (
	MaxLogReadBytes  = 32 << 20
	MaxLogReadWaitMs = 20_000
)

// LogOffset is a place in a partition.
type LogOffset struct {
	Offset uint64 `json:"offset"`
}

// LogBounds describes a partition of the log. Offsets first ≤ o < next can be read.
type LogBounds struct {
	Incarnation string `json:"incarnation"`
	First       uint64 `json:"first"`
	Next        uint64 `json:"next"`
	Bytes       int64  `json:"bytes"`
}

// LogHold tells what keeps the log from being trimmed besides checkpoints and retention: the archive of raw events.
type LogHold struct {
	Incarnation string             `json:"incarnation"`
	Holds       bool               `json:"holds"` // nothing is trimmed that is not archived
	NowMs       int64              `json:"now_ms"`
	UsedBytes   int64              `json:"used_bytes"`
	LimitBytes  int64              `json:"limit_bytes"`
	Partitions  []LogHeldPartition `json:"partitions"` // all of them, ascending
}

// LogHeldPartition is what the log holds of one partition. Archived is 0 until somebody told.
type LogHeldPartition struct {
	Partition int    `json:"partition"`
	First     uint64 `json:"first"`
	Next      uint64 `json:"next"`
	Archived  uint64 `json:"archived_before"`
}

// LogArchived tells that all that a partition held below an offset is in cold storage. It is never taken back.
type LogArchived struct {
	Incarnation string `json:"incarnation"`
	Partition   int    `json:"partition"`
	Before      uint64 `json:"before"`
}

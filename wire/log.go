package wire

// Paths of the event log, served by the role that owns it.
const (
	PathLogRead   = "/internal/v1/log/read"   // GET ?partition=&from=&max_bytes=&wait_ms= → an encoded chunk; unavailable, trimmed, beyond_end, not_found
	PathLogSeek   = "/internal/v1/log/seek"   // GET ?partition=&append_time_ms= → LogOffset
	PathLogBounds = "/internal/v1/log/bounds" // GET ?partition= → LogBounds
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

package wire

// PathDatabases is served by shard proxies alone: GET → DatabasesAnswer.
const PathDatabases = "/internal/v1/databases"

// DatabasesAnswer is what a shard proxy thinks of the shard's databases.
type DatabasesAnswer struct {
	Shard     string            `json:"shard"`
	Databases []DatabaseVerdict `json:"databases"`
}

// DatabaseVerdict is what a shard proxy thinks of one database, by its probes.
type DatabaseVerdict struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Role    string `json:"role"`
	Probed  bool   `json:"probed"` // false: nothing is known yet
	Healthy bool   `json:"healthy"`
	SinceMs int64  `json:"since_ms"` // when the verdict became this one, ms since 1970
	// Code says what is wrong: unavailable and deadline, that it can't be reached or does not work; others, that it is not what it should be.
	Code     Code   `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	ReadOnly bool   `json:"read_only"` // as it said last
	Term     uint64 `json:"term"`      // as it said last; 0: it never did
	LagMs    int64  `json:"lag_ms"`    // of a replica; meaningful with LagKnown
	LagKnown bool   `json:"lag_known"`
}

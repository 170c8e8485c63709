package wire

// Paths of the internal calls with which a shard is rolled up. Shard proxies alone serve them.
const (
	PathRollup      = "/internal/v1/rollup"       // GET → RollupState
	PathRollupClaim = "/internal/v1/rollup:claim" // POST RollupClaim → RollupClaimed
	PathRollupStep  = "/internal/v1/rollup:step"  // POST RollupRequest → RollupStep
)

// RollupClaim makes an owner the leader of a shard's roll-up: steps of all others are refused as fenced from then on.
type RollupClaim struct {
	Owner string `json:"owner"`
}

// RollupClaimed holds the epoch that the leader's steps must name.
type RollupClaimed struct {
	Epoch uint64 `json:"epoch"`
}

// RollupRequest asks for the one short step that comes next.
type RollupRequest struct {
	Epoch     uint64 `json:"epoch"`
	Owner     string `json:"owner"`
	Until     int64  `json:"until_minute"` // hours and days that end later, or have not ended, stay as they are
	ChunkRows int    `json:"chunk_rows"`   // finer rows that one step reads, about
	Ranked    int    `json:"ranked_keys"`  // keys that a ranked list keeps at least; 0: the shard's default
}

// RollupAction is what a step did.
type RollupAction string

// The actions.
const (
	RollupAnnounced RollupAction = "announced" // which hour or day is computed next
	RollupComputed  RollupAction = "computed"  // the rows of some keys
	RollupAdvanced  RollupAction = "advanced"  // the watermark moved
	RollupPruned    RollupAction = "pruned"    // members of ranked lists, which were too long or of frozen rows
	RollupRanked    RollupAction = "ranked"    // rows of some keys that were complete before there were ranked lists
	RollupIdle      RollupAction = "idle"      // nothing is left to do
)

// Bounds of a step: its transaction must stay short.
const (
	MaxRollupRows = 100_000
	MaxRankedKeys = 10_000
)

// RollupStep says what a step did.
type RollupStep struct {
	Action     RollupAction `json:"action"`
	Resolution string       `json:"resolution,omitempty"` // "hour" or "day"
	Start      int64        `json:"start_minute"`         // of that hour or day
	Rows       int64        `json:"rows"`                 // written
}

// RollupState is how far a shard's roll-up came, and who led it last.
type RollupState struct {
	Shard    string       `json:"shard"`
	Database string       `json:"database"`
	Epoch    uint64       `json:"epoch"` // 0: nobody has led it yet
	Owner    string       `json:"owner"`
	Marks    []RollupMark `json:"marks"`     // hour, then day
	ListsDue bool         `json:"lists_due"` // ranked lists have grown, or have yet to be made
}

// RollupMark is how far one coarse table came.
type RollupMark struct {
	Resolution      string `json:"resolution"`
	CompleteBefore  int64  `json:"complete_before_minute"`
	ComputingBefore int64  `json:"computing_before_minute"` // equal to CompleteBefore if nothing is being computed
}

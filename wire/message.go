package wire

import "github.com/quipudb/quipu/event"

// Paths of the internal calls. Cluster proxy and shard proxy serve the same ones; the cluster proxy forwards, scatters and gathers.
const (
	PathApply       = "/internal/v1/apply"       // POST, ApplyType body, ?partition=
	PathClaim       = "/internal/v1/claim"       // POST ClaimRequest → Checkpoint
	PathCheckpoints = "/internal/v1/checkpoints" // GET → CheckpointsAnswer
	PathStats       = "/internal/v1/stats"       // POST StatsRequest → StatsAnswer
	PathKept        = "/internal/v1/stats:kept"  // POST LinesType: StatsRequests of one key → StatsAnswers, null where nothing is kept
	PathTop         = "/internal/v1/top"         // POST TopRequest → TopAnswer
	PathKeyInfo     = "/internal/v1/keys:lookup" // POST KeyRequest → KeyInfo
	PathKeysImport  = "/internal/v1/keys:import" // POST KeysImport → KeysImported
)

// ApplyType is the media type of an encoded ApplyRequest.
const ApplyType = "application/vnd.quipu.apply.v1"

// LinesType is the media type of bodies with one JSON value a line.
const LinesType = "application/x-ndjson"

// Checkpoint is the stored state of a partition, in the shard that owns it (INV-4).
type Checkpoint struct {
	Partition   int    `json:"partition"`
	Epoch       uint64 `json:"epoch"`
	NextOffset  uint64 `json:"next_offset"`        // the first batch that is not counted yet
	WindowFrom  uint64 `json:"window_from"`        // rebuild the de-duplication window from here
	AsOf        int64  `json:"as_of_ms"`           // log time: every batch appended strictly before it is counted
	Incarnation string `json:"incarnation"`        // of the log that NextOffset counts in; "" before the first Apply
	Checksum    uint32 `json:"checksum"`           // CRC-32C of the batch at NextOffset−1; 0 if there is none
	Owner       string `json:"owner"`              // the writer that claimed the epoch
	Database    string `json:"database,omitempty"` // which database told, in CheckpointsAnswer
}

// ClaimRequest takes over a partition: the stored epoch becomes max(stored + 1, MinEpoch), by compare-and-set.
type ClaimRequest struct {
	Partition int    `json:"partition"`
	Owner     string `json:"owner"`
	MinEpoch  uint64 `json:"min_epoch"`
}

// ApplyRequest adds rows and moves the checkpoint in one transaction. It succeeds only if the stored checkpoint has
// this epoch and the expected offset. No rows is a heartbeat: it moves as-of (and the offset, for batches that counted nothing).
type ApplyRequest struct {
	Partition   int
	Epoch       uint64
	Expected    uint64 // stored NextOffset that these rows continue from
	Next        uint64 // NextOffset afterwards, ≥ Expected
	WindowFrom  uint64
	AsOf        int64
	Incarnation string
	Checksum    uint32
	Rows        []Row
}

// Row is what one flush adds to a cell: a key of a type in a minute.
type Row = event.Row

// ApplyAnswer tells what was committed.
type ApplyAnswer struct {
	NextOffset uint64 `json:"next_offset"`
	Rows       int    `json:"rows"`
}

// CheckpointsAnswer lists the checkpoints of every partition as each database of its shard has it: replicas may lag.
type CheckpointsAnswer struct {
	Checkpoints []Checkpoint `json:"checkpoints"`
	// Missing lists the databases that did not answer: what they hold is unknown, so nothing they may need can be trimmed.
	Missing []string `json:"missing,omitempty"`
}

// Step is the resolution of a series.
type Step string

// The steps. StepNone asks for one total.
const (
	StepNone   Step = ""
	StepMinute Step = "minute"
	StepHour   Step = "hour"
	StepDay    Step = "day"
)

// Bounds of a request.
const (
	MaxKeysPerStats   = 1000
	MaxKept           = 64     // lines of a call for kept answers
	MaxPointsPerStats = 50_000 // rows a StatsAnswer may hold, over all its keys
	MaxTop            = 1000
	MaxTopScanned     = 180 // minutes of a ranking that no ranked list holds
	MaxKeysPerImport  = 5000
	MaxApplyRows      = 200_000
	MaxApplyBytes     = 32 << 20
)

// StatsRequest asks for the aggregates of keys of one type over [From, To), in minutes since 1970 UTC.
type StatsRequest struct {
	Type string   `json:"type"`
	Keys []string `json:"keys"`
	From int64    `json:"from_minute"`
	To   int64    `json:"to_minute"`
	Step Step     `json:"step,omitempty"` // From and To are multiples of it
	// Explain asks for StatsAnswer.Plan.
	Explain bool `json:"explain,omitempty"`
	// MinAsOf asks for an answer from the databases unless a cached one has this as-of at least. The answer may be older all the same.
	MinAsOf int64 `json:"min_as_of_ms,omitempty"`
	// Validators are those of answers that the caller has kept of Keys, over the same range and step, "" for none; or it is empty. A key whose answer is
	// still the same then comes without points, as KeyStats.Unchanged.
	Validators []string `json:"validators,omitempty"`
}

// Point is the aggregate of the events from Start on for one step, or over the whole range.
type Point struct {
	Start      int64     `json:"start_minute"`
	Count      int64     `json:"count"`
	ValueCount int64     `json:"value_count"`
	HasValues  bool      `json:"has_values"`
	Sum        event.Sum `json:"sum"`
	Min        int64     `json:"min"` // meaningful only with HasValues
	Max        int64     `json:"max"`
}

// KeyStats are the points of one key, ascending by start; steps without rows are left out. Step "" gives exactly one.
type KeyStats struct {
	Key    string  `json:"key"`
	Known  bool    `json:"known"` // false if the shard never saw this key
	Points []Point `json:"points"`
	// Validator tells this answer from later ones. It is opaque, and empty if the answer must not be kept: the range isn't closed yet.
	Validator string `json:"validator,omitempty"`
	// Unchanged says that the answer is the one of the validator that the request had, what is in cold storage included: there are neither points nor cold
	// parts of the key.
	Unchanged bool `json:"unchanged,omitempty"`
}

// StatsAnswer holds the keys in the order of the request. Keys whose partition could not be asked are in Coverage.Missing.
type StatsAnswer struct {
	Keys []KeyStats `json:"keys"`
	// Cold lists what is missing in the points of Keys because it is in cold storage.
	Cold []ColdPart `json:"cold,omitempty"`
	// Plan lists what was read of which table, if that was asked for.
	Plan []PlanSegment `json:"plan,omitempty"`
	Provenance
}

// PlanSegment is a part of an asked range that was read from one table of a shard.
type PlanSegment struct {
	Shard      string `json:"shard"`
	Database   string `json:"database"`
	Place      string `json:"place"` // PlaceHot, PlaceLate, PlaceRestored
	Resolution string `json:"resolution"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
}

// The places that rows of one resolution are in (docs/archive.md).
const (
	PlaceHot      = "hot"      // R_counts
	PlaceLate     = "late"     // late_R_counts
	PlaceRestored = "restored" // restored_R_counts
	PlaceCold     = "cold"     // objects in cold storage
)

// Provenance says what an answer is (INV-8).
type Provenance struct {
	AsOf     int64    `json:"as_of_ms"` // the oldest as-of of the partitions that answered, log time
	Stale    bool     `json:"stale"`    // some part is older than the configured lag bound, or a promotion set it back
	Coverage Coverage `json:"coverage"`
	Sources  []Source `json:"sources"`
}

// Coverage counts the partitions that the answer needed and those that it has.
type Coverage struct {
	Partitions int       `json:"partitions"` // needed
	Answered   int       `json:"answered"`
	Missing    []Missing `json:"missing,omitempty"`
}

// Missing is a part that could not be asked: of some partitions everything, or what cold storage holds of one resolution in a range.
type Missing struct {
	Shard      string `json:"shard"`
	Partitions []int  `json:"partitions"`
	Code       Code   `json:"code"`
	Detail     string `json:"detail"`
	Resolution string `json:"resolution,omitempty"` // only what is in cold storage
	From       int64  `json:"from_minute,omitempty"`
	To         int64  `json:"to_minute,omitempty"`
}

// Source is a database that contributed, or cold storage.
type Source struct {
	Shard      string `json:"shard"`
	Database   string `json:"database"`
	Role       string `json:"role"`       // primary, replica, cache, cold
	Resolution string `json:"resolution"` // the tables read, finest first: "minute", "minute+day" …
	AsOf       int64  `json:"as_of_ms"`
	// Of cold storage: the objects that were needed, how many of them were in memory, and what was read of the others.
	Objects int   `json:"objects,omitempty"`
	Cached  int   `json:"cached,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}

// Roles of a Source that is no database.
const (
	RoleCold  = "cold"  // cold storage
	RoleCache = "cache" // an answer that was kept: Database says which one had given it
)

// TopRequest asks for the n keys of a type with the largest count over [From, To) minutes.
type TopRequest struct {
	Type string `json:"type"`
	From int64  `json:"from_minute"`
	To   int64  `json:"to_minute"`
	N    int    `json:"n"`
	// MinAsOf is that of StatsRequest.
	MinAsOf int64 `json:"min_as_of_ms,omitempty"`
}

// TopEntry is one key of a ranking.
type TopEntry struct {
	Key string `json:"key"`
	Point
}

// TopAnswer is ranked by count, then key; keys that don't count more than 0 are left out. The counts are exact in any case.
type TopAnswer struct {
	Entries []TopEntry `json:"entries"`
	Exact   bool       `json:"exact"`          // no other key can be among them
	Others  int64      `json:"others_at_most"` // no other key counts more
	Provenance
}

// KeyRequest asks for what is known of a key.
type KeyRequest struct {
	Type string `json:"type"`
	Key  string `json:"key"`
}

// KeyInfo is what is known of a key.
type KeyInfo struct {
	Type      string `json:"type"`
	Key       string `json:"key"`
	Known     bool   `json:"known"`
	Title     string `json:"title,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Partition int    `json:"partition"`
	Shard     string `json:"shard"`
	Provenance
}

// KeysImport sets titles and owners; a key that was never counted is created with no counts.
type KeysImport struct {
	Keys []KeyAttributes `json:"keys"`
}

// KeyAttributes are a key's title and owner, at most 255 bytes each; nil leaves one as it is.
type KeyAttributes struct {
	Type  string  `json:"type"`
	Key   string  `json:"key"`
	Title *string `json:"title,omitempty"`
	Owner *string `json:"owner,omitempty"`
}

// KeysImported counts what an import did.
type KeysImported struct {
	Created int `json:"created"`
	Updated int `json:"updated"`
}

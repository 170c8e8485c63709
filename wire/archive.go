package wire

import "github.com/quipudb/quipu/event"

// Paths of the internal calls with which rows of a shard move to cold storage and back. Shard proxies alone serve them. All that change
// something name the epoch and owner of the shard's leader (PathRollupClaim) and are refused as fenced if another one leads. Each may be
// repeated after a lost answer. docs/archive.md tells the protocol.
const (
	PathArchive           = "/internal/v1/archive"             // GET → ArchiveState
	PathArchiveFreeze     = "/internal/v1/archive:freeze"      // POST ArchiveFreeze → ArchiveMark
	PathArchiveSeal       = "/internal/v1/archive:seal"        // POST ArchiveSeal → ArchiveMark
	PathArchiveIntend     = "/internal/v1/archive:intend"      // POST ArchiveIntent → Done
	PathArchiveRows       = "/internal/v1/archive:rows"        // POST ArchiveRowsRequest → ArchiveRowsType body
	PathArchiveCommit     = "/internal/v1/archive:commit"      // POST ArchiveCommit → ArchiveMark
	PathArchiveDrop       = "/internal/v1/archive:drop"        // POST ArchiveDrop → ArchiveDropped
	PathArchiveManifest   = "/internal/v1/archive:manifest"    // POST ManifestRequest → ManifestAnswer
	PathArchiveReferences = "/internal/v1/archive:references"  // POST ReferencesRequest → ReferencesAnswer
	PathArchiveForget     = "/internal/v1/archive:forget"      // POST ArchiveIntent → Done
	PathArchiveRestore    = "/internal/v1/archive:restore"     // POST RestoreRequest → RestoredRange
	PathArchiveRestoreAdd = "/internal/v1/archive:restore-add" // POST ArchiveRowsType body, ?epoch=&owner=&range= → Done
	PathArchiveRestoreEnd = "/internal/v1/archive:restore-end" // POST RestoreEnd → RestoredRange
)

// ArchiveRowsType is the media type of rows with their keys' names and attributes, encoded by EncodeArchiveRows.
const ArchiveRowsType = "application/vnd.quipu.archive-rows.v1"

// Bounds of the archive's calls.
const (
	MaxArchiveRows    = 200_000 // in one ArchiveRows
	MaxArchiveObjects = 5_000   // in one commit or intent
	MaxColdObjects    = 2_000   // in one StatsAnswer
)

// Done is the answer of a call that has nothing to tell.
type Done struct{}

// Leader names who may change a shard's archive.
type Leader struct {
	Epoch uint64 `json:"epoch"`
	Owner string `json:"owner"`
}

// ArchiveMark says where one resolution is to be read. Times are minutes since 1970.
type ArchiveMark struct {
	Resolution   string `json:"resolution"` // "minute", "hour", "day"
	FrozenBefore int64  `json:"frozen_before_minute"`
	ColdBefore   int64  `json:"cold_before_minute"`
	LateRound    uint32 `json:"late_round"` // rows of earlier rounds never change
}

// ArchiveState is how far a shard's archive came.
type ArchiveState struct {
	Shard      string           `json:"shard"`
	Database   string           `json:"database"`
	Marks      []ArchiveMark    `json:"marks"`      // minute, hour, day
	Watermarks []RollupMark     `json:"watermarks"` // hour, day: no resolution is frozen beyond the watermark of the next coarser one
	Tables     []TimePartition  `json:"tables"`     // of the three tables, by resolution and end, about what is in them
	Late       []LateRows       `json:"late"`       // late rows before their cold mark, by resolution and day
	Restored   []RestoredRange  `json:"restored"`
	Intents    []ArchiveIntents `json:"intents"`
}

// TimePartition is one of a table's.
type TimePartition struct {
	Resolution string `json:"resolution"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	Rows       int64  `json:"rows"` // the database's estimate
}

// LateRows counts what was added to a frozen day.
type LateRows struct {
	Resolution string `json:"resolution"`
	Day        int64  `json:"day_minute"`
	Rows       int64  `json:"rows"`
	Sealed     int64  `json:"sealed"` // of them, in rounds that are over
}

// ArchiveIntents is an object that was announced and not committed.
type ArchiveIntents struct {
	Object    string `json:"object"`
	CreatedAt int64  `json:"created_at_ms"`
}

// ArchiveFreeze ends all changes of rows of a resolution that start before an instant; what is added to them later goes to the late table.
// The answer may be less than what was asked: never beyond the next coarser table's watermark, always the start of a day.
type ArchiveFreeze struct {
	Leader
	Resolution string `json:"resolution"`
	Before     int64  `json:"before_minute"`
}

// ArchiveSeal begins a new round of late rows; those of the earlier rounds can then be archived.
type ArchiveSeal struct {
	Leader
	Resolution string `json:"resolution"`
}

// ArchiveIntent announces objects before they are written, or forgets them after they were deleted.
type ArchiveIntent struct {
	Leader
	Objects []string `json:"objects"`
}

// ArchiveRowsRequest asks for frozen rows in the order of their key's id, from a database that has them all: those of the table, or, with
// Late, those of sealed rounds in the late table.
type ArchiveRowsRequest struct {
	Resolution string `json:"resolution"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	Late       bool   `json:"late,omitempty"`
	NextKey    uint64 `json:"next_key"` // 0 at first, then what the last answer said
	Rows       int    `json:"rows"`     // about; at most MaxArchiveRows
}

// ArchiveRows is an answer. A key's rows are never divided between two answers.
type ArchiveRows struct {
	NextKey uint64 // 0: this was the last one
	Rows    []ArchiveRow
}

// ArchiveRow is a row of a counts table with the names that its ids stand for.
type ArchiveRow struct {
	Partition    int
	Title, Owner string // of the key; may be empty
	event.Row           // Minute is where the minute, hour or day starts
}

// ArchiveSums are what one partition has in an object, or in a part of a table. They must agree before anything is dropped.
type ArchiveSums struct {
	Partition  int       `json:"partition"`
	Rows       int64     `json:"rows"`
	EventCount event.Sum `json:"event_count"`
	ValueCount event.Sum `json:"value_count"`
	ValueSum   event.Sum `json:"value_sum"`
}

// ArchiveObject is an object that was written, read back and summed up.
type ArchiveObject struct {
	Object string        `json:"object"`
	From   int64         `json:"from_minute"` // of its day
	To     int64         `json:"to_minute"`
	Bytes  int64         `json:"bytes"`
	SHA256 string        `json:"sha256"` // hex
	Parts  []ArchiveSums `json:"parts"`
}

// ArchiveCommitKind says what a commit makes of its objects.
type ArchiveCommitKind string

// The kinds.
const (
	CommitFrozen ArchiveCommitKind = "frozen" // all rows of the table in [From, To), From being the cold mark: the mark moves to To
	CommitLate   ArchiveCommitKind = "late"   // all sealed late rows in [From, To), a day or a part of one, which are deleted in the same transaction
	CommitMerged ArchiveCommitKind = "merged" // what the Replaced objects held, which retire
)

// ArchiveCommit makes objects the place where rows are read, if their sums are those of what they replace.
type ArchiveCommit struct {
	Leader
	Kind       ArchiveCommitKind `json:"kind"`
	Resolution string            `json:"resolution"`
	From       int64             `json:"from_minute"`
	To         int64             `json:"to_minute"`
	Objects    []ArchiveObject   `json:"objects"` // none, if there were no rows
	Replaced   []string          `json:"replaced,omitempty"`
}

// ArchiveDrop drops the time partitions of which every row is cold, and rows of ranges that are being released, a bounded part at a time.
type ArchiveDrop struct {
	Leader
	Resolution string `json:"resolution"`
}

// ArchiveDropped counts what was dropped; Again says that there is more.
type ArchiveDropped struct {
	Partitions int   `json:"partitions"`
	Rows       int64 `json:"rows"`
	Again      bool  `json:"again"`
}

// ManifestRequest asks for rows of the manifest in the order of their ids.
type ManifestRequest struct {
	Resolution string `json:"resolution,omitempty"` // "": all
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	After      uint64 `json:"after_id"`
}

// ManifestAnswer is a page.
type ManifestAnswer struct {
	Rows []ManifestRow `json:"rows"`
	More bool          `json:"more"`
}

// ManifestRow says what one partition has in one object.
type ManifestRow struct {
	ID         uint64 `json:"id"`
	Resolution string `json:"resolution"`
	Object     string `json:"object"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	Bytes      int64  `json:"bytes"`
	SHA256     string `json:"sha256"`
	State      string `json:"state"` // stored, retired
	ChangedAt  int64  `json:"changed_at_ms"`
	ArchiveSums
}

// ReferencesRequest asks which of some objects any database of the shard refers to, as stored or as intent.
type ReferencesRequest struct {
	Objects []string `json:"objects"`
}

// ReferencesAnswer lists them. With databases missing, nothing may be deleted: what they refer to is unknown.
type ReferencesAnswer struct {
	Referenced []string `json:"referenced"`
	Missing    []string `json:"missing,omitempty"`
}

// RestoreRequest begins to bring a cold range back, or with Release ends that.
type RestoreRequest struct {
	Leader
	Resolution string `json:"resolution"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	Release    bool   `json:"release,omitempty"`
}

// RestoreEnd makes a range readable if its rows have the sums of the manifest.
type RestoreEnd struct {
	Leader
	ID uint64 `json:"id"`
}

// RestoredRange is a range that was or is being brought back.
type RestoredRange struct {
	ID         uint64 `json:"id"`
	Resolution string `json:"resolution"`
	From       int64  `json:"from_minute"`
	To         int64  `json:"to_minute"`
	State      string `json:"state"` // loading, ready, releasing
}

// ColdPart is a part of an asked range whose rows of some partitions are in cold storage. Who asked adds them to the points of the answer, which
// hold all the rest. Objects and rest are of one snapshot.
type ColdPart struct {
	Shard      string       `json:"shard"`
	Resolution string       `json:"resolution"`
	From       int64        `json:"from_minute"`
	To         int64        `json:"to_minute"`
	Partitions []int        `json:"partitions"` // of the asked keys, on this shard
	Objects    []ColdObject `json:"objects"`    // that overlap the range and hold rows of these partitions; none: there are no rows
}

// ColdObject is an object in cold storage.
type ColdObject struct {
	Object     string `json:"object"`
	Bytes      int64  `json:"bytes"`
	Rows       int64  `json:"rows"` // of the partitions below
	SHA256     string `json:"sha256"`
	Partitions []int  `json:"partitions"`
	From       int64  `json:"from_minute"` // of its day
	To         int64  `json:"to_minute"`
}

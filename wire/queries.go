package wire

import (
	"strings"
	"time"
)

// PathQueries lists what runs in the databases: GET → QueriesAnswer, with ?digests=true also what ran. DELETE of PathQueries/ID kills a statement → QueryKilled.
const PathQueries = "/internal/v1/queries"

// QueriesAnswer is told by a shard proxy of its own statements, by a cluster proxy of those of all shard proxies.
type QueriesAnswer struct {
	Queries []RunningQuery  `json:"queries"`           // the oldest first
	Digests []QueryDigest   `json:"digests,omitempty"` // what took most time in all first
	Missing []MissingMember `json:"missing"`
}

// RunningQuery is a statement that runs.
type RunningQuery struct {
	ID           string    `json:"id"` // names shard, proxy and statement
	Shard        string    `json:"shard"`
	Database     string    `json:"database"`
	Connection   uint64    `json:"connection"` // its number in the database
	Class        string    `json:"class"`      // point, series, top, analyst, admin, write
	Caller       string    `json:"caller,omitempty"`
	Began        time.Time `json:"began"`
	Deadline     time.Time `json:"deadline"`
	Seconds      float64   `json:"seconds"`
	RowsExamined *int64    `json:"rows_examined,omitempty"` // of those that run for long
	Ending       string    `json:"ending,omitempty"`        // why it is being killed: deadline, cancelled, enough, asked
	Digest       string    `json:"digest"`
	Statement    string    `json:"statement"` // its beginning
}

// QueryDigest is what one shard proxy knows of all statements of one shape and class.
type QueryDigest struct {
	ID           string    `json:"id"`
	Shard        string    `json:"shard"`
	Proxy        string    `json:"proxy"`
	Class        string    `json:"class"`
	Text         string    `json:"text"`
	Count        int64     `json:"count"`
	Errors       int64     `json:"errors"` // those that were killed included
	Killed       int64     `json:"killed"`
	TotalSeconds float64   `json:"total_seconds"`
	MaxSeconds   float64   `json:"max_seconds"`
	P50Seconds   float64   `json:"p50_seconds"`
	P95Seconds   float64   `json:"p95_seconds"`
	P99Seconds   float64   `json:"p99_seconds"`
	MaxExamined  int64     `json:"max_rows_examined"` // of those that ran for long
	Last         time.Time `json:"last"`
}

// MissingMember is a process that could not be asked, or a shard without any.
type MissingMember struct {
	Shard  string `json:"shard"`
	Proxy  string `json:"proxy,omitempty"`
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// QueryKilled tells that a statement is dead.
type QueryKilled struct {
	ID string `json:"id"`
}

// queryIDSeparator is in no name of a shard or member.
const queryIDSeparator = "~"

// QueryID names a statement by the shard, the shard proxy and the number that this proxy gave it.
func QueryID(shard, proxy, number string) string {
	return shard + queryIDSeparator + proxy + queryIDSeparator + number
}

// SplitQueryID takes the id of a statement apart.
func SplitQueryID(id string) (shard, proxy, number string, ok bool) {
	parts := strings.Split(id, queryIDSeparator)
	if len(parts) != 3 {
		return "", "", "", false
	}
	return parts[0], parts[1], parts[2], true
}

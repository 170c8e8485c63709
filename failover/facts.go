package failover

import (
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/mysql"
)

// Facts are what is known of a shard at one instant. What could not be asked is unknown, never assumed.
type Facts struct {
	Shard      cluster.Shard
	ClusterID  string
	Partitions []int // that the shard owns
	Record     cluster.Failover
	Proxies    []ProxyWord
	Servers    map[string]*Server // by id; every database of the shard has one
	Log        *LogFacts          // nil: the log could not be asked
	LogError   string
	UnderWay   []string // other shards whose primary is being changed
	Now        time.Time
}

// ProxyWord is what one of the shard's proxies says of the primary.
type ProxyWord struct {
	Member string
	Word   Word
	Reason string
}

// Word is what somebody says of a primary.
type Word string

// The words.
const (
	WordAlive   Word = "alive"
	WordDown    Word = "down"
	WordUnknown Word = "unknown" // who says so can't be asked, or can't tell
)

// Server is what is known of one database by asking it.
type Server struct {
	*mysql.Member        // nil: it did not answer
	Error         string // why not
	SchemaError   string // why this build must not use it
	// Word is what a replica says of the primary: whether it hears of it.
	Word   Word
	Reason string
}

// LogFacts are the bounds of the event log.
type LogFacts struct {
	Incarnation string
	Partitions  map[int]LogRange
}

// LogRange is what the log holds of a partition: First to before Next.
type LogRange struct{ First, Next uint64 }

// Rules bound what is done, whoever asks for it.
type Rules struct {
	AcrossZones bool
	MaxAtOnce   int           // changes of primaries under way in the cluster
	Pause       time.Duration // between two of a shard
	MaxPerShard int           // within Period
	Period      time.Duration
}

// Request is what somebody wants done with a shard.
type Request struct {
	Automatic   bool     // nobody asked: the shard's proxies and replicas must agree
	Planned     bool     // the primary is alive and is drained first
	To          string   // which database is to become the primary; empty: the most advanced
	AcrossZones bool     // whatever the rules say
	IgnorePause bool     // whatever was done lately
	Force       bool     // although the primary answers, and undrained
	AcceptLoss  bool     // although the log does not reach back
	Reason      string   // why, for the record
	Agreed      []string // what the proxies and replicas said, if it was found before
}

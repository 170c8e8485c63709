// Package config reads Quipu's one configuration file.
//
// Settings come from four places; each overrides those before it: the defaults, the file, the environment
// (QUIPU_<SECTION>_<KEY>), and flags. The defaults are those of quipu.yaml beside this file, which is embedded: the
// reference that people read is what the program runs with, and every setting is described there.
//
// Reading is strict: an unknown key, a value of another type, a number without its unit or out of its range is an
// *Error that names file, line and the setting's full path. Passwords and tokens come from files of their own or the environment, never
// from the file or a flag, and are never printed.
//
// All values are plain data. Only cmd imports this package.
package config

import "time"

// Config is every setting, by section. Tags: range bounds a number, both ends included; oneof lists the words that a text may be.
type Config struct {
	Cluster      Cluster      `yaml:"cluster"`
	Log          Log          `yaml:"log"`
	Auth         Auth         `yaml:"auth"`
	HTTP         HTTP         `yaml:"http"`
	Ingest       Ingest       `yaml:"ingest"`
	Writer       Writer       `yaml:"writer"`
	ClusterProxy ClusterProxy `yaml:"cluster_proxy"`
	ShardProxy   ShardProxy   `yaml:"shard_proxy"`
	Reader       Reader       `yaml:"reader"`
	Rollup       Rollup       `yaml:"rollup"`
	Failover     Failover     `yaml:"failover"`
	Retention    Retention    `yaml:"retention"`
	Archive      Archive      `yaml:"archive"`
	Migrate      Migrate      `yaml:"migrate"`
	Accounts     Accounts     `yaml:"accounts"`
}

// Cluster says which cluster a process belongs to and where it keeps its own data.
type Cluster struct {
	Name           string        `yaml:"name"`
	ZooKeeper      []string      `yaml:"zookeeper"`
	Root           string        `yaml:"root"`
	SessionTimeout time.Duration `yaml:"session_timeout" range:"2s..10m"`
	Zone           string        `yaml:"zone"`
	DataDir        string        `yaml:"data_dir"`
	MemberID       string        `yaml:"member_id"`
	Window         time.Duration `yaml:"window" range:"1s..1d"`
}

// Log says what is logged, and how, to standard error.
type Log struct {
	Level  string `yaml:"level" oneof:"debug info warn error"`
	Format string `yaml:"format" oneof:"text json"`
}

// Auth says who is let in.
type Auth struct {
	Tokens            []Token `yaml:"tokens"`
	InternalToken     Secret  `yaml:"internal_token"`
	InternalTokenFile string  `yaml:"internal_token_file"`
}

// Token is a bearer token, known by its hash alone.
type Token struct {
	Name   string   `yaml:"name"`
	Scopes []string `yaml:"scopes" oneof:"write read sql admin internal"`
	SHA256 string   `yaml:"sha256"`
}

// HTTP holds the bounds of every role's server and of the calls between roles.
type HTTP struct {
	Drain          time.Duration `yaml:"drain" range:"0s..10m"`
	HeaderTimeout  time.Duration `yaml:"header_timeout" range:"100ms..5m"`
	ReadTimeout    time.Duration `yaml:"read_timeout" range:"1s..1h"`
	WriteTimeout   time.Duration `yaml:"write_timeout" range:"1s..1h"`
	IdleTimeout    time.Duration `yaml:"idle_timeout" range:"1s..1h"`
	MaxConnections int           `yaml:"max_connections" range:"16..1000000"`
	SlowRequest    time.Duration `yaml:"slow_request" range:"1ms..1h"`
	CallTimeout    time.Duration `yaml:"call_timeout" range:"100ms..10m"`
	DialTimeout    time.Duration `yaml:"dial_timeout" range:"10ms..1m"`
	IdlePerHost    int           `yaml:"idle_per_host" range:"1..10000"`
	Profiles       bool          `yaml:"profiles"`
}

// Accounts are the users of the databases, one for each purpose, so that none can do more than its purpose needs.
type Accounts struct {
	Apply   Account `yaml:"apply"`
	Read    Account `yaml:"read"`
	Monitor Account `yaml:"monitor"`
	Migrate Account `yaml:"migrate"`
	Backup  Account `yaml:"backup"`
	Analyst Account `yaml:"analyst"`

	Failover  Account `yaml:"failover"`
	Replicate Account `yaml:"replicate"`
	Rebuild   Account `yaml:"rebuild"`
}

// Account is a user of the databases.
type Account struct {
	User         string `yaml:"user"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"`
}

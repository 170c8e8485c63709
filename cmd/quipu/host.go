package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
	"github.com/quipudb/quipu/wire/balance"
	"github.com/quipudb/quipu/wire/httpserver"
	"github.com/quipudb/quipu/zookeeper"
)

// readyPoll is how often a role that is not ready is asked again before it registers.
const readyPoll = 100 * time.Millisecond

// post says where a role serves.
type post struct {
	role      cluster.Role
	listen    string
	advertise string
	shard     string
	maxBody   int64 // of a request as sent; 0: the server's default
	// early registers the role once it listens, without waiting for it to be ready.
	early bool
}

// host is what the process of every role is made of, whatever the role.
type host struct {
	post      post
	cfg       *config.Effective
	log       *slog.Logger
	registry  *prometheus.Registry
	verifier  *auth.Verifier
	server    *httpserver.Server
	zk        *zookeeper.Client
	directory *zookeeper.Directory
	calls     *wire.Client // for calls to other roles
	member    cluster.Member
	origin    wire.Origin // of those calls
	ready     atomic.Pointer[func(context.Context) error]
}

func newHost(log *slog.Logger, cfg *config.Effective, p post) (*host, error) {
	h := &host{post: p, cfg: cfg, log: log.With("role", string(p.role)), registry: prometheus.NewRegistry()}
	internalToken, err := cfg.Auth.ReadInternalToken()
	if err != nil {
		return nil, err
	}
	if h.verifier, err = newVerifier(cfg, internalToken); err != nil {
		return nil, err
	}
	h.calls = newCalls(cfg, internalToken, func() wire.Origin { return h.origin })
	if err := os.MkdirAll(cfg.Cluster.DataDir, 0o750); err != nil {
		return nil, fmt.Errorf("make folder cluster.data_dir: %w", err)
	}
	h.waitFor("waiting for the cluster's state from ZooKeeper")
	h.server, err = httpserver.New(httpserver.Config{
		Role: string(p.role), Address: p.listen, Version: version, Auth: h.verifier, Registry: h.registry, Logger: h.log, Held: true, Profiles: cfg.HTTP.Profiles,
		Ready:   func(ctx context.Context) error { return (*h.ready.Load())(ctx) },
		MaxBody: p.maxBody, MaxConnections: cfg.HTTP.MaxConnections, Drain: cfg.HTTP.Drain, HeaderTimeout: cfg.HTTP.HeaderTimeout,
		ReadTimeout: cfg.HTTP.ReadTimeout, WriteTimeout: cfg.HTTP.WriteTimeout, IdleTimeout: cfg.HTTP.IdleTimeout, SlowRequest: cfg.HTTP.SlowRequest,
	})
	if err != nil {
		return nil, err
	}
	h.zk = newZooKeeper(cfg, h.log, h.registry)
	return h, nil
}

// waitFor makes the role unready, for a reason, until it has been built.
func (h *host) waitFor(reason string) {
	waiting := func(context.Context) error { return errors.New(reason) }
	h.ready.Store(&waiting)
}

// listen binds the address, which completes what others know this process by: port 0 is known now.
func (h *host) listen() error {
	if err := h.server.Listen(); err != nil {
		return err
	}
	listening := strings.TrimPrefix(h.server.URL(), "http://")
	url, err := advertisedURL(h.post.advertise, h.post.listen, listening)
	if err != nil {
		return err
	}
	id := h.cfg.Cluster.MemberID
	if id == "" {
		id = memberID(h.post.role, url)
	}
	h.member = cluster.Member{ID: id, Role: h.post.role, URL: url, Shard: h.post.shard, Zone: h.cfg.Cluster.Zone, Version: version}
	h.origin = wire.Origin{Member: string(h.member.Role) + "/" + id, Zone: h.member.Zone}
	folder := filepath.Join(h.cfg.Cluster.DataDir, "directory")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return fmt.Errorf("make folder for the directory: %w", err)
	}
	h.directory = zookeeper.NewDirectory(h.zk, filepath.Join(folder, string(h.post.role)+"-"+fileName(id)+".json"))
	return nil
}

// join waits until the cluster is known, from ZooKeeper or, while that is away, from disk.
func (h *host) join(ctx context.Context, parts *group) error {
	h.log.Info("joining the cluster", "zookeeper", h.cfg.Cluster.ZooKeeper, "root", h.cfg.Cluster.Root)
	if err := parts.await(ctx, "the cluster's state", h.directory.WaitReady); err != nil {
		return err
	}
	return checkCluster(h.cfg, h.directory.Snapshot().Settings)
}

// register keeps this process in the cluster's directory until ctx ends. It begins once the role is ready, and goes on while the
// role is not ready later: who calls it then learns that from the answer.
func (h *host) register(ctx context.Context) error {
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for !h.post.early {
		err := (*h.ready.Load())(ctx)
		if err == nil {
			break
		}
		h.log.Debug("not ready", "reason", err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	h.log.Info("ready", "member", h.member.ID)
	return h.zk.Register(ctx, h.member)
}

// inDataDir places a relative path below cluster.data_dir.
func (h *host) inDataDir(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(h.cfg.Cluster.DataDir, path)
}

// urls returns the addresses of a role's live members, as last known.
func (h *host) urls(role cluster.Role) func() []string {
	return func() []string {
		snapshot := h.directory.Snapshot()
		if snapshot == nil {
			return nil
		}
		return urlsOf(snapshot, role)
	}
}

// servers is urls with the members' zones.
func (h *host) servers(role cluster.Role) func() []balance.Server {
	return func() []balance.Server {
		snapshot := h.directory.Snapshot()
		if snapshot == nil {
			return nil
		}
		servers := make([]balance.Server, 0, len(snapshot.Members[role]))
		for _, m := range snapshot.Members[role] {
			servers = append(servers, balance.Server{URL: m.URL, Zone: m.Zone})
		}
		return servers
	}
}

// newVerifier knows the configured tokens, and that of the calls between roles.
func newVerifier(cfg *config.Effective, internalToken string) (*auth.Verifier, error) {
	tokens := make([]auth.Token, 0, len(cfg.Auth.Tokens)+1)
	for _, t := range cfg.Auth.Tokens {
		scopes := make([]auth.Scope, len(t.Scopes))
		for i, s := range t.Scopes {
			scopes[i] = auth.Scope(s)
		}
		tokens = append(tokens, auth.Token{Name: t.Name, Scopes: scopes, SHA256: t.SHA256})
	}
	if len(tokens) > 0 && internalToken == "" {
		return nil, errors.New("auth.tokens are configured but no auth.internal_token_file: roles could not call each other")
	}
	if internalToken != "" {
		tokens = append(tokens, auth.Token{Name: "internal", Scopes: []auth.Scope{auth.Internal}, SHA256: auth.Hash(internalToken)})
	}
	return auth.New(tokens)
}

// commandOrigin is that of commands: they are no members.
func commandOrigin() wire.Origin { return wire.Origin{Member: "command/quipu"} }

func newCalls(cfg *config.Effective, internalToken string, origin func() wire.Origin) *wire.Client {
	return wire.NewClient(wire.ClientConfig{
		Repeatable: true, // all calls between roles are: they read, or compare and set
		Token:      internalToken, Timeout: cfg.HTTP.CallTimeout, DialTimeout: cfg.HTTP.DialTimeout, MaxIdlePerHost: cfg.HTTP.IdlePerHost,
		IdleTimeout: cfg.HTTP.IdleTimeout / 2, UserAgent: "quipu/" + version, Origin: origin,
	})
}

// advertisedURL is where others reach this process: as configured, else where it listens; if that is every address of this
// machine, the machine's name.
func advertisedURL(configured, listen, listening string) (string, error) {
	if configured != "" {
		return strings.TrimRight(configured, "/"), nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("read listen address: %w", err)
	}
	_, port, err := net.SplitHostPort(listening)
	if err != nil {
		return "", fmt.Errorf("read listening address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		if host, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("find this machine's name (or set advertise): %w", err)
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// memberID names a process by where others reach it: unique among the living, and the same after a new start.
func memberID(role cluster.Role, url string) string {
	address := url[strings.Index(url, "//")+2:]
	return string(role) + "-" + strings.Trim(fileName(address), "_")
}

// fileName keeps of a text what is harmless in names of files and nodes.
func fileName(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
			return r
		}
		return '_'
	}, text)
}

// Package httpserver is the HTTP server that every role runs: echo with one lean middleware, problem documents for every
// error, probes, metrics, and a drain that ends.
//
// Guarantees: a request's body, headers, duration and the number of connections are bounded; a panic answers 500 and is
// logged; every answer carries a request id; every error answer is an RFC 9457 problem document, also those for unknown
// paths and methods; internals never show in an answer. Without tokens the server binds to loopback only, and refuses
// requests that a browser sends on behalf of another site.
//
//	request → connection limit → intake (id, deadline, body limit, recover, metrics) → router → [auth] → handler
//	                                                                                  └ error → problem document
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/time/rate"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// ErrOpenBind is what New and Listen wrap when a server without tokens would be reachable from other machines.
var ErrOpenBind = errors.New("without tokens a server binds to loopback only: configure auth.tokens, or listen on 127.0.0.1 or ::1")

// Config configures a Server. Zero values give the defaults named here.
type Config struct {
	Role     string // "ingest": names the metrics
	Address  string // host:port to listen on; port 0 picks one
	Version  string // of the build, for quipu_build_info
	Auth     *auth.Verifier
	Registry *prometheus.Registry // a new one
	Logger   *slog.Logger         // none

	// Ready tells why the role can't serve just now, or nil. It must be cheap: anybody may ask.
	Ready func(context.Context) error

	// Held makes Run answer the probes only, and everything else with 503, until Open: a process that waits for others at its
	// start is alive, and says what it waits for.
	Held bool

	Profiles bool // serve /debug/pprof/ to the scope admin

	MaxBody        int64         // bytes of a body as sent; 8 MiB
	MaxConnections int           // beyond which connecting waits; 4,096
	Drain          time.Duration // how long requests in flight may go on once Run's context ended; 10 s
	HeaderTimeout  time.Duration // to send the headers; 5 s
	ReadTimeout    time.Duration // to send the whole request; 30 s
	WriteTimeout   time.Duration // from the headers' end to the answer's; 2 minutes
	IdleTimeout    time.Duration // between requests of a connection; 2 minutes
	SlowRequest    time.Duration // requests that take longer are logged, but for those with a wait parameter; 5 s
}

// Server serves one role. Its methods are safe for concurrent use; Listen and Run are called once each.
type Server struct {
	cfg      Config
	log      *slog.Logger
	echo     *echo.Echo
	server   *http.Server
	metrics  *metrics
	ids      *requestIDs
	logLimit *rate.Limiter
	unlogged atomic.Int64 // failed and slow requests that were not logged
	listener net.Listener
	open     atomic.Bool // routes are complete
	draining atomic.Bool
	drain    chan struct{}
}

// New returns a server with /healthz, /readyz and /metrics. It does no I/O.
func New(cfg Config) (*Server, error) {
	cfg.setDefaults()
	if err := checkBind(cfg.Address, cfg.Auth); err != nil {
		return nil, err
	}
	m, err := newMetrics(cfg.Registry, cfg.Role, cfg.Version)
	if err != nil {
		return nil, fmt.Errorf("register metrics of role %s: %w", cfg.Role, err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, echo: echo.New(), metrics: m, ids: newRequestIDs(),
		logLimit: rate.NewLimiter(loggedPerSecond, loggedBurst), drain: make(chan struct{}),
	}
	s.echo.HTTPErrorHandler = s.handleError
	s.echo.Use(s.intake)
	s.registerProbes(s.echo)
	handler := http.Handler(s.echo)
	if cfg.Held {
		handler = s.holding()
	}
	s.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: cfg.HeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		WriteTimeout:      cfg.WriteTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

func (cfg *Config) setDefaults() {
	setDefault(&cfg.Registry, func() *prometheus.Registry { return prometheus.NewRegistry() })
	setDefault(&cfg.Logger, func() *slog.Logger { return slog.New(slog.DiscardHandler) })
	setDefault(&cfg.MaxBody, func() int64 { return 8 << 20 })
	setDefault(&cfg.MaxConnections, func() int { return 4096 })
	for field, value := range map[*time.Duration]time.Duration{
		&cfg.Drain: 10 * time.Second, &cfg.HeaderTimeout: 5 * time.Second, &cfg.ReadTimeout: 30 * time.Second,
		&cfg.WriteTimeout: 2 * time.Minute, &cfg.IdleTimeout: 2 * time.Minute, &cfg.SlowRequest: 5 * time.Second,
	} {
		setDefault(field, func() time.Duration { return value })
	}
	if cfg.Ready == nil {
		cfg.Ready = func(context.Context) error { return nil }
	}
}

func setDefault[T comparable](field *T, value func() T) {
	var zero T
	if *field == zero {
		*field = value()
	}
}

// holding answers the probes and nothing else until Open. It has a router of its own: the role's may still be growing.
func (s *Server) holding() http.Handler {
	held := echo.New()
	held.HTTPErrorHandler = s.handleError
	held.Use(s.intake)
	s.registerProbes(held)
	held.Any("/*", func(echo.Context) error {
		return wire.NewProblem(wire.CodeUnavailable, "starting").WithRetryAfter(retryAfterUnready)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.open.Load() {
			s.echo.ServeHTTP(w, r)
			return
		}
		held.ServeHTTP(w, r)
	})
}

// Echo returns the router that roles add their routes to, before Run, or before Open if the server is held.
func (s *Server) Echo() *echo.Echo { return s.echo }

// Open lets a held server serve its routes.
func (s *Server) Open() { s.open.Store(true) }

// Listen binds the address. From then on connections queue until Run serves them.
func (s *Server) Listen() error {
	listener, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := checkBind(listener.Addr().String(), s.cfg.Auth); err != nil {
		listener.Close()
		return err
	}
	s.listener = netutil.LimitListener(listener, s.cfg.MaxConnections)
	return nil
}

// URL returns the base address of a listening server, "http://127.0.0.1:8080", and "" before Listen.
func (s *Server) URL() string {
	if s.listener == nil {
		return ""
	}
	return "http://" + s.listener.Addr().String()
}

// Draining is closed when the server starts to drain. Handlers that wait for something should stop waiting then.
func (s *Server) Draining() <-chan struct{} { return s.drain }

// Run serves until ctx ends, then refuses new connections, lets the requests in flight finish for Config.Drain, and cuts off
// what is left; that is the only error of a stop that was asked for. It listens first, if Listen was not called.
func (s *Server) Run(ctx context.Context) error {
	if s.listener == nil {
		if err := s.Listen(); err != nil {
			return err
		}
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.server.BaseContext = func(net.Listener) context.Context { return base }
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.cfg.Role, err)
	case <-ctx.Done():
	}
	err := s.shutdown(cancel)
	<-served
	return err
}

func (s *Server) shutdown(abort context.CancelFunc) error {
	s.draining.Store(true)
	close(s.drain)
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Drain)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		abort()
		s.server.Close()
		return fmt.Errorf("drain %s within %v: %w", s.cfg.Role, s.cfg.Drain, err)
	}
	return nil
}

// checkBind refuses addresses that other machines reach while nobody has to show a token. A host name counts as reachable,
// but for localhost, which Listen checks again once it is resolved.
func checkBind(address string, verifier *auth.Verifier) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("read listen address %q: %w", address, err)
	}
	if verifier.Enabled() || host == "localhost" {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("listen on %q: %w", address, ErrOpenBind)
}

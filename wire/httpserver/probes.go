package httpserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/quipudb/quipu/wire"
	"github.com/quipudb/quipu/wire/auth"
)

// Bounds of the probes.
const (
	readyTimeout      = 2 * time.Second
	metricsTimeout    = 10 * time.Second
	metricsInFlight   = 4
	retryAfterUnready = time.Second
)

const readyPath = "/readyz"

// registerProbes adds what load balancers and monitoring ask. /healthz and /readyz are open to anybody, for load balancers hold no
// tokens and the answers tell no counts; /metrics wants the scope read once tokens are configured.
func (s *Server) registerProbes(e *echo.Echo) {
	for _, method := range []string{http.MethodGet, http.MethodHead} { // some load balancers ask by HEAD
		e.Add(method, "/healthz", s.healthz)
		e.Add(method, readyPath, s.readyz)
	}
	metrics := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{
		Timeout: metricsTimeout, MaxRequestsInFlight: metricsInFlight, Registry: s.cfg.Registry,
	})
	e.GET("/metrics", echo.WrapHandler(metrics), s.cfg.Auth.Require(auth.Read))
	if s.cfg.Profiles {
		s.registerProfiles(e)
	}
}

// registerProfiles adds Go's profiles, for who looks into where time and memory go.
func (s *Server) registerProfiles(e *echo.Echo) {
	admin := s.cfg.Auth.Require(auth.Admin)
	e.GET("/debug/pprof/profile", echo.WrapHandler(http.HandlerFunc(pprof.Profile)), admin)
	e.GET("/debug/pprof/trace", echo.WrapHandler(http.HandlerFunc(pprof.Trace)), admin)
	e.GET("/debug/pprof/*", echo.WrapHandler(http.HandlerFunc(pprof.Index)), admin)
}

// healthz tells that the process is alive, whatever it can do just now.
func (s *Server) healthz(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, []byte(`{"status":"alive"}`))
}

// readyz tells whether the role should get requests.
func (s *Server) readyz(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()
	err := s.cfg.Ready(ctx)
	if s.draining.Load() {
		err = errors.New("draining")
	}
	if err != nil {
		return wire.NewProblem(wire.CodeUnavailable, "not ready: %v", err).WithRetryAfter(retryAfterUnready)
	}
	return c.JSONBlob(http.StatusOK, []byte(`{"status":"ready"}`))
}

package httpserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire/httpserver"
)

func TestDrainLetsRequestsFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	f := start(t, httpserver.Config{Drain: time.Minute}, func(e *echo.Echo) {
		e.GET("/work", func(c echo.Context) error {
			close(entered)
			<-release
			return c.String(http.StatusOK, "done")
		})
	})
	got := make(chan answer, 1)
	go func() { got <- f.get("/work") }()
	<-entered
	f.stop()
	<-f.server.Draining()
	awaitRefusal(t, f.server.URL())
	close(release)
	if a := <-got; a.status != 200 || a.body != "done" {
		t.Errorf("got %d %q from a request in flight, want it to finish", a.status, a.body)
	}
	if err := f.end(); err != nil {
		t.Errorf("got %v from a clean drain, want none", err)
	}
}

func TestDrainEnds(t *testing.T) {
	entered := make(chan struct{})
	f := start(t, httpserver.Config{Drain: 20 * time.Millisecond}, func(e *echo.Echo) {
		e.GET("/hang", func(c echo.Context) error {
			close(entered)
			<-c.Request().Context().Done() // aborted with the drain
			return c.Request().Context().Err()
		})
	})
	failed := make(chan error, 1)
	go func() {
		resp, err := f.client.Get(f.server.URL() + "/hang")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := f.end(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v from a drain that ran out, want it to say so", err)
	}
	if err := <-failed; err == nil {
		t.Error("a request that was cut off got an answer")
	}
}

func TestSlowHeadersAreCutOff(t *testing.T) {
	f := start(t, httpserver.Config{HeaderTimeout: 30 * time.Millisecond}, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.server.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the connection stayed open")
	}
}

func TestListenOnATakenPortFails(t *testing.T) {
	f := start(t, httpserver.Config{}, nil)
	server, err := httpserver.New(httpserver.Config{Role: "reader", Address: strings.TrimPrefix(f.server.URL(), "http://")})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("got %v, want an error of listening", err)
	}
}

func awaitRefusal(t *testing.T, url string) {
	t.Helper()
	address := strings.TrimPrefix(url, "http://")
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("a draining server still accepts connections")
		}
		time.Sleep(time.Millisecond)
	}
}

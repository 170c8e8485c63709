package httpserver_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/quipudb/quipu/wire/httpserver"
)

// A stream may take longer than requests and answers may, as long as it is read, and its request's context does not end meanwhile.
func TestStreamOutlastsTheBoundsOfAnswers(t *testing.T) {
	const lines = 40
	f := start(t, httpserver.Config{ReadTimeout: 300 * time.Millisecond, WriteTimeout: 300 * time.Millisecond}, func(e *echo.Echo) {
		e.POST("/lines", func(c echo.Context) error {
			if _, err := httpserver.ReadBody(c, 100); err != nil {
				return err
			}
			s := httpserver.NewStream(c, "text/plain", time.Minute)
			ticker := time.NewTicker(25 * time.Millisecond) // a second in all
			defer ticker.Stop()
			for range lines {
				select {
				case <-ticker.C:
				case <-c.Request().Context().Done():
					_, err := s.Write([]byte("cancelled\n"))
					return errors.Join(err, s.Flush())
				}
				if _, err := s.Write([]byte("line\n")); err != nil {
					return err
				}
			}
			return s.Flush()
		})
	})
	if got := f.do(http.MethodPost, "/lines", nil, strings.NewReader("x")); got.status != http.StatusOK || got.body != strings.Repeat("line\n", lines) {
		t.Errorf("got status %d, %q", got.status, got.body)
	}
}

// A stream that is aborted can't be taken for a whole one; what was written before arrives.
func TestAbortedStreamBreaksOff(t *testing.T) {
	f := start(t, httpserver.Config{}, func(e *echo.Echo) {
		e.GET("/half", func(c echo.Context) error {
			s := httpserver.NewStream(c, "text/plain", time.Minute)
			if _, err := s.Write([]byte("half")); err != nil {
				return err
			}
			s.Abort()
			return nil
		})
	})
	answer, err := f.client.Get(f.server.URL() + "/half")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "half" {
		t.Errorf("got %q, %v", body, err)
	}
}

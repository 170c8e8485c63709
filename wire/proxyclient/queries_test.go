package proxyclient_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/quipudb/quipu/wire"
)

// SQL is tried on another proxy if it did not run, and never if it did.
func TestSQLIsTriedAgainOnlyIfItDidNotRun(t *testing.T) {
	for code, want := range map[wire.Code]int32{wire.CodeUnavailable: 1, wire.CodeOverloaded: 1, wire.CodeDeadline: 0, wire.CodeBadRequest: 0} {
		bad := newProxy(t, func(*http.Request, []byte) any { return wire.NewProblem(code, "no") })
		good := newProxy(t, func(r *http.Request, _ []byte) any { return r.URL.RequestURI() })
		client := newClient(t, bad, good)
		for bad.calls.Load() == 0 { // which one comes first is chance
			body, err := client.SQL(t.Context(), "s 1", &wire.SQLRequest{SQL: "SELECT 1"})
			if err != nil {
				if wire.CodeOf(err) != code || want > 0 {
					t.Errorf("%s: got %v", code, err)
				}
				break
			}
			if got, err := io.ReadAll(body); err != nil || string(got) != "\""+wire.PathSQL+"?shard=s+1\"\n" {
				t.Errorf("%s: got %q, %v", code, got, err)
			}
			body.Close()
			if want == 0 && bad.calls.Load() > 0 {
				t.Errorf("%s: it was run again", code)
			}
		}
	}
}

package scenario_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/testkit"
	"github.com/quipudb/quipu/wire"
)

// command runs one of the program's commands as a person does.
func command(t *testing.T, d local.Description, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testkit.Binary(t), append(args, "--config", d.Config)...).CombinedOutput()
	return string(out), err
}

// askInSQL asks every shard by quipu sql, and has a statement that would run for hours listed and killed.
func askInSQL(t *testing.T, d local.Description) {
	t.Helper()
	testkit.Eventually(t, patience, func() error { // people are served by replicas alone, which may not be vouched for yet
		out, err := command(t, d, "sql", "--format", "csv", "-e", "SELECT COUNT(*) FROM event_types")
		if lines := strings.Fields(out); err != nil || len(lines) != 3 || lines[0] != "shard,COUNT(*)" || !strings.HasPrefix(lines[1], "s1,") || !strings.HasPrefix(lines[2], "s2,") {
			return fmt.Errorf("quipu sql said (%v):\n%s", err, out)
		}
		return nil
	})
	if out, err := command(t, d, "sql", "-e", "DELETE FROM event_types"); err == nil || !strings.Contains(out, "only SELECT is offered") {
		t.Errorf("quipu sql said of DELETE (%v):\n%s", err, out)
	}
	ended := make(chan string, 1)
	go func() {
		out, _ := command(t, d, "sql", "--shard", "s2", "-e", "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT COUNT(*) FROM n a, n b, n c, n d")
		ended <- out
	}()
	id := ""
	testkit.Eventually(t, patience, func() error {
		answer, err := http.Get(d.URLs["reader"] + "/v1/queries")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		var told wire.QueriesAnswer
		if err := json.NewDecoder(answer.Body).Decode(&told); err != nil {
			return err
		}
		for _, q := range told.Queries {
			if q.Class == "analyst" && strings.Contains(q.Statement, "RECURSIVE") {
				id = q.ID
				return nil
			}
		}
		return fmt.Errorf("it is not listed: %+v", told)
	})
	if out, err := command(t, d, "queries", "kill", id); err != nil {
		t.Errorf("quipu queries kill said (%v):\n%s", err, out)
	}
	if out := <-ended; !strings.Contains(out, "killed") {
		t.Errorf("the statement that was killed ended with:\n%s", out)
	}
	if out, err := command(t, d, "queries", "--digests"); err != nil || !strings.Contains(out, "analyst") || !strings.Contains(out, "point") {
		t.Errorf("quipu queries --digests said (%v):\n%s", err, out)
	}
}

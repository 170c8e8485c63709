package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/quipudb/quipu/failover"
)

func TestFailoverCommandsWantTheirFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"failover", "run"}, "flag --shard is needed"},
		{[]string{"failover", "run", "--shard", "s1", "--planned", "--force"}, "exclude each other"},
		{[]string{"failover", "plan"}, `read password of database user "quipu_failover"`},
		{[]string{"replica", "rebuild", "--shard", "s1"}, "flags --shard and --database are needed"},
		{[]string{"replica", "rebuild", "--shard", "s1", "--database", "s1-a"}, `read password of database user "quipu_rebuild"`},
		{[]string{"failover", "--set", "failover.max_per_shard=50"}, "failover.max_per_shard"},
	} {
		got := quipu(t, nil, test.args...)
		if got.code == exitDone || !strings.Contains(got.errors, test.want) {
			t.Errorf("quipu %v: %+v, want it to fail with %q", test.args, got, test.want)
		}
	}
}

func TestPlansAreShown(t *testing.T) {
	t.Parallel()
	plan := &failover.Plan{
		Shard: "s1", From: "s1-a", To: "s1-b", Term: 3, Words: []string{"proxy p1: alive"}, Replayed: 12,
		Candidates: []failover.Candidate{{Database: "s1-b", Zone: "b", Fit: true, Holds: 90, Behind: 12}, {Database: "s1-c", Reasons: []string{"it is diverged"}}},
		Refusals:   []failover.Refusal{{Code: failover.RefusedAlive, Detail: "s1-a answers"}},
	}
	var out bytes.Buffer
	show := func() string {
		t.Helper()
		out.Reset()
		if err := printPlans(&out, []*failover.Plan{plan}, false); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, want := range []string{"shard s1: s1-a → s1-b, would be done if the primary was lost", "12 batches", "proxy p1: alive", "it is diverged"} {
		if text := show(); !strings.Contains(text, want) {
			t.Errorf("the plan is shown as\n%swant %q in it", text, want)
		}
	}
	plan.Refusals = append(plan.Refusals, failover.Refusal{Code: failover.RefusedLog, Detail: "the log begins later"})
	if text := show(); !strings.Contains(text, "REFUSED") || !strings.Contains(text, "the log begins later (log_too_short)") {
		t.Errorf("a refused plan is shown as\n%s", text)
	}
	if err := printPlans(&out, []*failover.Plan{plan}, true); err != nil || !strings.Contains(out.String(), `"replayed_batches": 12`) {
		t.Errorf("as JSON: %v\n%s", err, out.String())
	}
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one measured value.
type figure struct {
	Name   string   `json:"-"`
	Value  float64  `json:"value"`
	Unit   string   `json:"unit"`
	Target *float64 `json:"target,omitempty"`
	AtMost bool     `json:"target_is_a_maximum,omitempty"`
	Met    *bool    `json:"met,omitempty"`
	Note   string   `json:"note,omitempty"`
}

// results is what a run found.
type results struct {
	Commit   string            `json:"commit"`
	Time     time.Time         `json:"time"`
	Quick    bool              `json:"quick"`
	Took     float64           `json:"took_seconds"`
	Machine  machine           `json:"machine"`
	Settings map[string]string `json:"settings"`
	Figures  map[string]figure `json:"figures"`

	order []string
}

func newResults(ctx context.Context, o options) (*results, error) {
	r := &results{Time: time.Now().UTC().Truncate(time.Second), Quick: o.quick, Commit: commit(ctx), Settings: map[string]string{}, Figures: map[string]figure{}}
	var err error
	r.Machine, err = describeMachine(o.dir)
	r.Settings["go"] = runtime.Version()
	if len(o.sets) > 0 {
		r.Settings["set"] = strings.Join(o.sets, " ")
	}
	return r, err
}

// commit names the source that was measured.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// add notes a figure.
func (r *results) add(f figure) {
	if f.Target != nil {
		met := f.Value >= *f.Target
		if f.AtMost {
			met = f.Value <= *f.Target
		}
		f.Met = &met
	}
	if _, known := r.Figures[f.Name]; !known {
		r.order = append(r.order, f.Name)
	}
	r.Figures[f.Name] = f
}

func atLeast(target float64) *float64 { return &target }

// value notes a figure without a target.
func (r *results) value(name string, value float64, unit, note string) {
	r.add(figure{Name: name, Value: value, Unit: unit, Note: note})
}

func (r *results) print(out io.Writer) {
	fmt.Fprintf(out, "\ncommit %s, %s, %d cores, %d MiB, fdatasync p50 %.2f ms, load average %.1f before, %.0f s in all\n\n",
		r.Commit, r.Machine.CPU, r.Machine.Cores, r.Machine.MemoryMiB, r.Machine.FsyncP50Ms, r.Machine.Load1, r.Took)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tVALUE\tUNIT\tTARGET\t\tNOTE")
	for _, name := range r.order {
		f := r.Figures[name]
		target, met := "", ""
		if f.Target != nil {
			target, met = "≥ "+number(*f.Target), "met"
			if f.AtMost {
				target = "≤ " + number(*f.Target)
			}
			if !*f.Met {
				met = "missed"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, target, met, f.Note)
	}
	w.Flush()
}

// number writes a value with three digits or more, in groups.
func number(v float64) string {
	switch {
	case v >= 1000 || v <= -1000:
		digits := fmt.Sprintf("%.0f", v)
		for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (r *results) write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

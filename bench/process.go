package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is USER_HZ, which Linux fixes at 100 for /proc.
const ticksPerSecond = 100

// cpuTimes returns the CPU time that each process has used so far, the load's own under "load".
func (b *bench) cpuTimes() map[string]time.Duration {
	times := map[string]time.Duration{"load": cpuTime("self")}
	for _, p := range b.cluster.Description().Processes {
		times[roleOf(p.Name)] += cpuTime(strconv.Itoa(p.PID))
	}
	return times
}

// roleOf is what a process is summed up under.
func roleOf(name string) string {
	switch {
	case strings.HasPrefix(name, "shard-proxy"):
		return "shard-proxy"
	case strings.HasPrefix(name, "writer"):
		return "writer"
	case len(name) == 4 && name[0] == 's' && strings.HasSuffix(name, "-a"):
		return "primary"
	case len(name) == 4 && name[0] == 's':
		return "replica"
	}
	return name
}

// cpuTime reads utime and stime of a process, 0 if it is gone.
func cpuTime(pid string) time.Duration {
	content, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses that may hold anything.
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// tellCPU notes how much CPU each role took for an event, between two readings.
func (b *bench) tellCPU(before, after map[string]time.Duration, events int64, elapsed time.Duration) {
	var total time.Duration
	for _, role := range slices.Sorted(maps.Keys(after)) {
		used := after[role] - before[role]
		total += used
		b.results.value("ingest_cpu_us_per_event_"+strings.ReplaceAll(role, "-", "_"), used.Seconds()*1e6/float64(events), "µs",
			fmt.Sprintf("%.0f%% of a core", 100*used.Seconds()/elapsed.Seconds()))
	}
	b.results.value("ingest_cpu_us_per_event", total.Seconds()*1e6/float64(events), "µs", fmt.Sprintf("%.0f%% of a core", 100*total.Seconds()/elapsed.Seconds()))
}

const windowIDs = "quipu_writer_window_ids"

// watchMemory notes the most memory that each process has held so far. Processes end and start: it is called now and then.
func (b *bench) watchMemory() {
	for _, p := range b.cluster.Description().Processes {
		words := strings.Fields(field(fmt.Sprintf("/proc/%d/status", p.PID), "VmHWM"))
		if len(words) == 0 {
			continue
		}
		kib, _ := strconv.ParseUint(words[0], 10, 64)
		role := roleOf(p.Name)
		b.peaks[role] = max(b.peaks[role], kib<<10)
	}
}

// watchWindows notes memory and ids after a measure.
func (b *bench) watchWindows(ctx context.Context) error {
	b.watchMemory()
	writer, err := b.scrape(ctx, "writer")
	if err != nil {
		return err
	}
	b.ids = max(b.ids, writer.sum(windowIDs))
	return nil
}

// peak is the most memory that a writer held, and how many ids.
type peak struct {
	bytes uint64
	ids   float64
}

// loadIsOver notes what the writer held during the ingest load: its windows grow with every load that comes within their ten minutes after it.
func (b *bench) loadIsOver(ctx context.Context) error {
	err := b.watchWindows(ctx)
	b.loaded = &peak{bytes: b.peaks["writer"], ids: b.ids}
	return err
}

// tellMemory notes the peaks: of the hungriest process of each role; of the writer, that during the ingest load.
func (b *bench) tellMemory() {
	for _, role := range slices.Sorted(maps.Keys(b.peaks)) {
		f := figure{Name: "peak_rss_mib_" + strings.ReplaceAll(role, "-", "_"), Value: float64(b.peaks[role]) / (1 << 20), Unit: "MiB"}
		switch role {
		case "primary", "replica", "zookeeper":
			f.Note = "server, with what it caches"
		default:
			f.Target, f.AtMost = atLeast(1024), true
		}
		if role == "writer" && b.loaded != nil {
			b.results.value(f.Name+"_whole_run", f.Value, f.Unit, fmt.Sprintf("%.1f million ids in the windows at most", b.ids/1e6))
			f.Value, f.Note = float64(b.loaded.bytes)/(1<<20), fmt.Sprintf("during the ingest load, %.1f million ids in the windows", b.loaded.ids/1e6)
		}
		b.results.add(f)
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quipudb/quipu/deploy/local"
)

// machine is what figures depend on.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryMiB  int     `json:"memory_mib"`
	Kernel     string  `json:"kernel"`
	FsyncP50Ms float64 `json:"fdatasync_p50_ms"` // of 4 KiB, on the disk of the cluster's data
	Load1      float64 `json:"load_average"`     // of the minute before: what else wanted the cores
}

func describeMachine(dir string) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name")}
	if words := strings.Fields(field("/proc/meminfo", "MemTotal")); len(words) > 0 {
		kib, _ := strconv.Atoi(words[0]) // 0 where there is no such file
		m.MemoryMiB = kib / 1024
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load1, _ = strconv.ParseFloat(strings.Fields(string(load))[0], 64) // 0 where it makes no sense
	}
	p50, err := fsyncTime(dir)
	m.FsyncP50Ms = float64(p50.Microseconds()) / 1000
	return m, err
}

// field returns the value of the first "name : value" line of a file, or "".
func field(path, name string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func fsyncTime(dir string) (time.Duration, error) {
	file, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, fmt.Errorf("measure disk: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	block := make([]byte, 4096)
	var times []time.Duration
	for range 200 {
		begun := time.Now()
		if _, err := file.Write(block); err != nil {
			return 0, fmt.Errorf("measure disk: %w", err)
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("measure disk: %w", err)
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// describeSettings notes what durability and topology were measured with.
func (b *bench) describeSettings(ctx context.Context) error {
	var version, syncBinlog, flushLog string
	root := b.cluster.Database("s1-a").Root()
	if err := root.QueryRowContext(ctx, "SELECT VERSION(), @@sync_binlog, @@innodb_flush_log_at_trx_commit").Scan(&version, &syncBinlog, &flushLog); err != nil {
		return fmt.Errorf("read settings of the database: %w", err)
	}
	for name, value := range map[string]string{
		"database": version, "sync_binlog": syncBinlog, "innodb_flush_log_at_trx_commit": flushLog,
		"buffer_pool_mib": strconv.Itoa(bufferPool >> 20), "shards": strconv.Itoa(local.DefaultShards), "replicas_per_shard": "1", "partitions": strconv.Itoa(partitions),
		"log": "flushed before every acknowledgement",
	} {
		b.results.Settings[name] = value
	}
	return nil
}

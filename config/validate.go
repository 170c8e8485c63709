package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var errTooLong = errors.New("is longer than 1 MiB")

// Validate checks every setting against its range, and settings against each other. Its error is Errors.
func (c *Config) Validate() error {
	if errs := c.problems(nil); len(errs) > 0 {
		return errs
	}
	return nil
}

// problems lists what is wrong; origins tells where each setting came from.
func (c *Config) problems(origins map[string]string) Errors {
	check := &checker{origins: origins}
	root := reflect.ValueOf(c).Elem()
	for _, s := range settings() {
		value := root.FieldByIndex(s.index)
		check.that(s.path, checkTags(value, s.field))
	}
	check.cluster(c.Cluster)
	check.tokens(c.Auth.Tokens)
	check.addresses(c)
	check.relations(c)
	check.archive(c)
	return check.errors
}

type checker struct {
	origins map[string]string
	errors  Errors
}

func (k *checker) that(path string, err error) {
	if err == nil {
		return
	}
	base, _, _ := strings.Cut(path, "[")
	origin := k.origins[base]
	if origin == "" {
		origin = "configuration"
	}
	k.errors = append(k.errors, &Error{Origin: origin, Path: path, Reason: err.Error()})
}

func (k *checker) require(path string, ok bool, format string, args ...any) {
	if !ok {
		k.that(path, fmt.Errorf(format, args...))
	}
}

func (k *checker) cluster(c Cluster) {
	k.require("cluster.name", isName(c.Name, 40), "must be 1 to 40 letters, digits, - or _, is %q", c.Name)
	k.require("cluster.member_id", c.MemberID == "" || isName(c.MemberID, 100), "must be up to 100 letters, digits, -, _, . or :, is %q", c.MemberID)
	k.require("cluster.data_dir", c.DataDir != "", "must not be empty")
	k.require("cluster.zookeeper", len(c.ZooKeeper) > 0, "must name at least one server")
	for i, server := range c.ZooKeeper {
		k.that(fmt.Sprintf("cluster.zookeeper[%d]", i), checkAddress(server, false))
	}
	k.require("cluster.root", strings.HasPrefix(c.Root, "/") && len(c.Root) > 1 && !strings.HasSuffix(c.Root, "/"),
		"must be a path like /quipu, is %q", c.Root)
}

func (k *checker) tokens(tokens []Token) {
	names := map[string]bool{}
	for i, t := range tokens {
		at := fmt.Sprintf("auth.tokens[%d]", i)
		k.require(at+".name", isName(t.Name, 100) && !names[t.Name] && t.Name != "internal",
			"must be a name of its own of letters, digits, - or _, and not internal, is %q", t.Name)
		names[t.Name] = true
		k.require(at+".scopes", len(t.Scopes) > 0, "must name at least one of write, read, sql, admin, internal")
		k.that(at+".scopes", checkWords(reflect.ValueOf(t.Scopes), []string{"write", "read", "sql", "admin", "internal"}))
		hash, err := hex.DecodeString(t.SHA256)
		k.require(at+".sha256", err == nil && len(hash) == 32, "must be 64 hex digits: the output of quipu token create")
	}
}

func (k *checker) addresses(c *Config) {
	for section, a := range map[string][2]string{
		"ingest": {c.Ingest.Listen, c.Ingest.Advertise}, "writer": {c.Writer.Listen, c.Writer.Advertise},
		"cluster_proxy": {c.ClusterProxy.Listen, c.ClusterProxy.Advertise},
		"shard_proxy":   {c.ShardProxy.Listen, c.ShardProxy.Advertise}, "reader": {c.Reader.Listen, c.Reader.Advertise},
		"rollup": {c.Rollup.Listen, c.Rollup.Advertise}, "failover": {c.Failover.Listen, c.Failover.Advertise},
	} {
		k.that(section+".listen", checkAddress(a[0], true))
		if a[1] != "" {
			k.that(section+".advertise", checkURL(a[1]))
		}
	}
}

func (k *checker) relations(c *Config) {
	w, i, s := c.Writer, c.Ingest, c.ShardProxy
	k.require("writer.max_flush_interval", w.MaxFlushInterval >= w.FlushInterval, "must be at least writer.flush_interval, %s", FormatDuration(w.FlushInterval))
	k.require("ingest.max_bytes", i.MaxBytes >= i.SegmentSize, "must be at least ingest.segment_size, %s", i.SegmentSize)
	k.require("ingest.max_in_flight", i.MaxInFlight >= i.MaxBody, "must be at least ingest.max_body, %s", i.MaxBody)
	slowest := c.Reader.MaxWait + 2*(c.Reader.Timeout+c.Reader.ColdTimeout) // twice: a question is put again if objects were replaced meanwhile
	k.require("http.write_timeout", c.HTTP.WriteTimeout > slowest,
		"must be longer than reader.max_wait and twice reader.timeout and reader.cold_timeout together, %s", FormatDuration(slowest))
	k.require("reader.cold_cache_dir", c.Reader.ColdCacheDir != "", "must not be empty")
	k.require("reader.cold_cache_bytes", c.Reader.ColdCacheBytes == 0 || c.Reader.ColdCacheBytes >= 2*MiB, "must be at least 2MiB, or 0B for none, is %s", c.Reader.ColdCacheBytes)
	k.require("cluster_proxy.apply_timeout", c.ClusterProxy.ApplyTimeout >= s.ApplyTimeout,
		"must be at least shard_proxy.apply_timeout, %s", FormatDuration(s.ApplyTimeout))
}

// leastMinutes is how long minutes are kept at least: past the de-duplication window, the roll-up's delay and what clocks differ.
const leastMinutes = 2 * day

func (k *checker) archive(c *Config) {
	r, a := c.Retention, c.Archive
	k.require("retention.minutes", r.Minutes == 0 || r.Minutes >= leastMinutes, "must be at least %s, or 0s for ever", FormatDuration(leastMinutes))
	k.require("retention.hours", keptAsLong(r.Hours, r.Minutes), "must be at least retention.minutes, %s, or 0s for ever", forEver(r.Minutes))
	k.require("retention.days", keptAsLong(r.Days, r.Hours), "must be at least retention.hours, %s, or 0s for ever", forEver(r.Hours))
	k.require("archive.url", a.URL == "" || strings.HasPrefix(a.URL, "/") || strings.HasPrefix(a.URL, "file:///") || strings.HasPrefix(a.URL, "s3://"),
		"must be a folder, /var/lib/quipu/cold or file:///var/lib/quipu/cold, or s3://bucket, is %q", a.URL)
	longest := max(c.Reader.Timeout, c.ClusterProxy.ReadTimeout, c.ShardProxy.PointTimeout, c.ShardProxy.SeriesTimeout, c.ShardProxy.ScanTimeout, c.ShardProxy.AdminTimeout)
	k.require("archive.drop_delay", a.DropDelay >= longest, "must be at least the longest read, %s", FormatDuration(longest))
	k.require("archive.delete_grace", a.DeleteGrace >= a.DropDelay, "must be at least archive.drop_delay, %s", FormatDuration(a.DropDelay))
}

func keptAsLong(coarse, fine time.Duration) bool { return coarse == 0 || fine != 0 && coarse >= fine }

func forEver(retention time.Duration) string {
	if retention == 0 {
		return "for ever"
	}
	return FormatDuration(retention)
}

// checkAddress accepts host:port; listening may leave out the host, and take port 0.
func checkAddress(address string, listen bool) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("must be host:port, is %q", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || (!listen && (n == 0 || host == "")) {
		return fmt.Errorf("must be host:port with a port from 1 to 65535, is %q", address)
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("must be a base address like http://10.0.0.5:8080, is %q", text)
	}
	return nil
}

func isName(text string, longest int) bool {
	if text == "" || len(text) > longest {
		return false
	}
	return strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == ""
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/config"
	"github.com/quipudb/quipu/deploy/local"
	"github.com/quipudb/quipu/wire"
)

const (
	// askTimeout bounds the question for the counts that are shown, askWait how long it waits for what was just sent.
	askTimeout = 40 * time.Second
	askWait    = "20s"
)

// shownKey is a key whose counts are shown.
type shownKey struct{ Type, Key, what string }

func shownKeys() []shownKey {
	return []shownKey{
		{"departure", "ATL", "min late on average"},
		{"departure", "LAS", "min late on average"},
		{"departure", "ORD", "min late on average"},
		{"route", "LAS-PHL", "mi on average"},
		{"view", "v1", "ms on average"},
	}
}

// shownCount is the answer for one of them.
type shownCount struct {
	shownKey
	count   json.Number
	average *float64
}

// askCounts asks the reader, once all that was sent is counted.
func askCounts(ctx context.Context, calls *wire.Client, reader string) ([]shownCount, error) {
	type query struct {
		Type     string `json:"type"`
		Key      string `json:"key"`
		Function string `json:"function"`
	}
	var question struct {
		Wait    string  `json:"wait"`
		Queries []query `json:"queries"`
	}
	question.Wait = askWait
	for _, k := range shownKeys() {
		question.Queries = append(question.Queries, query{k.Type, k.Key, "count"}, query{k.Type, k.Key, "avg"})
	}
	var answer struct {
		Results []struct {
			Value json.RawMessage `json:"value"`
			Error *struct {
				Message string `json:"message"`
			} `json:"error"`
		} `json:"results"`
	}
	if err := calls.JSON(ctx, http.MethodPost, reader+"/v1/stats:batch", question, &answer); err != nil {
		return nil, fmt.Errorf("ask for counts: %w", err)
	}
	if len(answer.Results) != len(question.Queries) {
		return nil, fmt.Errorf("ask for counts: %d answers to %d queries", len(answer.Results), len(question.Queries))
	}
	var counts []shownCount
	for i, k := range shownKeys() {
		count, average := answer.Results[2*i], answer.Results[2*i+1]
		if count.Error != nil {
			return nil, fmt.Errorf("ask for the count of %s %s: %s", k.Type, k.Key, count.Error.Message)
		}
		c := shownCount{shownKey: k, count: json.Number(count.Value)}
		if average.Error == nil {
			if err := json.Unmarshal(average.Value, &c.average); err != nil {
				return nil, fmt.Errorf("ask for the average of %s %s: %w", k.Type, k.Key, err)
			}
		}
		counts = append(counts, c)
	}
	return counts, nil
}

// summaryOf says what is counted, what runs, where, and what to try.
func summaryOf(d local.Description, counts []shownCount) (string, error) {
	try, err := tryOut(d)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\nQuipu is up. Counted so far, all time:\n\n")
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, c := range counts {
		average := ""
		if c.average != nil {
			average = fmt.Sprintf("\t%.1f %s", *c.average, c.what)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s%s\n", c.Type, c.Key, c.count, average)
	}
	fmt.Fprintf(w, "\n")
	for _, name := range processNames(d) {
		p, _ := d.Process(name)
		address := d.URLs[name]
		if address == "" {
			address = local.LoopbackAddress(p.Port)
		}
		fmt.Fprintf(w, "  %s\t%s\tpid %d\n", name, address, p.PID)
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	fmt.Fprintf(&text, "\n  all data and logs are in %s\n%s", d.DataDir, try)
	return text.String(), nil
}

// processNames lists the roles by port, and then the servers.
func processNames(d local.Description) []string {
	var roles, servers []local.DescribedProcess
	for _, p := range d.Processes {
		if d.URLs[p.Name] != "" {
			roles = append(roles, p)
		} else {
			servers = append(servers, p)
		}
	}
	var names []string
	for _, list := range [][]local.DescribedProcess{roles, servers} {
		slices.SortFunc(list, func(a, b local.DescribedProcess) int { return a.Port - b.Port })
		for _, p := range list {
			names = append(names, p.Name)
		}
	}
	return names
}

// tryOut is three commands that work as printed: send an event, read it back over HTTP, and as an analyst in SQL.
func tryOut(d local.Description) (string, error) {
	topology, err := config.LoadTopology(filepath.Join(d.DataDir, "topology.yaml"))
	if err != nil {
		return "", err
	}
	shard := topology.Partitions[cluster.Partition("view", "v1", len(topology.Partitions))]
	client, note := "mariadb", ""
	if _, err := exec.LookPath(client); err != nil {
		client = "mysql"
		if _, err := exec.LookPath(client); err != nil {
			client, note = "mariadb", "   # not installed: make deps"
		}
	}
	file := filepath.Join(d.DataDir, "analyst-"+shard+".cnf")
	return fmt.Sprintf(`
Try, in another terminal:

  curl -d '{"type":"view","key":"v1","value":340}' %s/v1/events
  curl '%s/v1/stats?type=view&key=v1&function=sum&wait=5s'
  %s --defaults-file=%s -t -e "SELECT start, event_count, value_sum FROM counts_per_minute WHERE event_type='view' AND counted_key='v1'"%s

Ctrl-C stops everything; the data stays.

`, d.URLs["ingest"], d.URLs["reader"], client, shellWord(file), note), nil
}

// shellWord quotes a path where a shell would take it apart.
func shellWord(path string) string {
	if strings.ContainsAny(path, " \t'\"$&|;<>()*?[]#~`\\!{}") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}

package reader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/cluster"
	"github.com/quipudb/quipu/event"
	"github.com/quipudb/quipu/reader"
	"github.com/quipudb/quipu/reader/cold"
	"github.com/quipudb/quipu/wire"
)

const (
	yesterday = "&from=2026-01-30T00:00:00Z&to=2026-01-31T00:00:00Z"
	today     = "&from=2026-01-31T00:00:00Z"
)

// newColdRig has of key "cold" 3 events of yesterday, in cold storage, and one of today; of key "warm", which another shard counts,
// only one of today.
func newColdRig(t testing.TB, change func(*reader.Config)) (r *rig, v *vault, warm, chilly string) {
	t.Helper()
	v, warm, chilly = &vault{}, lost("s1"), lost("s2")
	l := &ledger{asOf: now.UnixMilli() - 800}
	r = rigOf(t, l, serveLedger(t, l), nil, withVault(t, v, change))
	for _, minute := range []int64{at(-20, 5, 0), at(-20, 5, 30), at(-3, 59, 0), at(12, 0, 0)} {
		r.add(event.Event{Type: "view", Key: chilly, TimeMs: minute, Value: 10, HasValue: true})
	}
	r.add(event.Event{Type: "view", Key: warm, TimeMs: at(12, 0, 0)})
	l.archive(v, now.Unix()/86400*minutesOfDay)
	return r, v, warm, chilly
}

func text(t testing.TB, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestColdIsAddedAndTold(t *testing.T) {
	r, _, _, key := newColdRig(t, nil)
	target := "/v1/stats?type=view&key=" + key
	for query, want := range map[string]string{
		"":                           "4",
		"&function=sum":              "40",
		"&function=max":              "10",
		yesterday:                    "3",
		today:                        "1",
		"&from=2026-01-30T04:05:00Z": "4",
		"&from=2026-01-30T04:06:00Z": "2",
		"&from=2026-01-30T22:00:00Z&function=avg": "10",
	} {
		if got := r.get(t, target+query).fields(t); text(t, got["value"]) != want || got["partial"] != nil || got["plan"] != nil {
			t.Errorf("%s: got %v, want the value %s", query, got, want)
		}
	}
	got := r.get(t, target+yesterday+"&step=hour").fields(t)
	points := got["points"].([]any)
	for _, hour := range []int{4, 20} {
		if want := map[int]string{4: "2", 20: "0"}[hour]; text(t, points[hour].(map[string]any)["value"]) != want {
			t.Errorf("got %v, want %s", points[hour], want)
		}
	}
	if len(points) != 24 || text(t, points[21].(map[string]any)["value"]) != "1" {
		t.Errorf("got %d points, %v", len(points), points)
	}
	sources := got["sources"].([]any)
	want := map[string]any{"shard": "s2", "role": "cold", "resolution": "minute", "objects": json.Number("1"), "cached": json.Number("1"), "bytes_read": json.Number("0")}
	if diff := cmp.Diff(any(want), sources[len(sources)-1]); diff != "" || len(sources) != 2 {
		t.Errorf("got %d sources, the last differs (-want +got):\n%s", len(sources), diff)
	}
	if sources := r.get(t, target+today).fields(t)["sources"].([]any); len(sources) != 1 {
		t.Errorf("got sources %v of what is hot, want one", sources)
	}
}

func TestMinutesOfTwoYearsAgo(t *testing.T) {
	r, v, _, key := newColdRig(t, nil)
	then := now.AddDate(-2, 0, 0).Truncate(24 * time.Hour)
	for i := range 1440 {
		r.add(event.Event{Type: "view", Key: key, TimeMs: then.UnixMilli() + int64(i)*60_000, Weight: int64(i + 1)})
	}
	r.archive(v, now.Unix()/86400*minutesOfDay)
	r.add(event.Event{Type: "view", Key: key, TimeMs: then.UnixMilli(), Weight: 1000}) // late, and not archived yet
	got := r.get(t, fmt.Sprintf("/v1/stats?type=view&key=%s&step=minute&from=%s&to=%s", key, then.Format(time.RFC3339), then.AddDate(0, 0, 7).Format(time.RFC3339))).fields(t)
	points := got["points"].([]any)
	if len(points) != 10080 {
		t.Fatalf("got %d points, want those of a week", len(points))
	}
	for i, p := range points {
		want := 0
		if i < 1440 {
			want = i + 1
		}
		if i == 0 {
			want += 1000
		}
		if text(t, p.(map[string]any)["value"]) != fmt.Sprint(want) {
			t.Fatalf("got %v as point %d, want %d", p, i, want)
		}
	}
	wantProblem(t, r.get(t, fmt.Sprintf("/v1/stats?type=view&key=%s&step=minute&from=%s&to=%s", key, then.Format(time.RFC3339), then.AddDate(0, 0, 8).Format(time.RFC3339))),
		422, wire.CodeUnprocessable, "step", "11520 points")
}

// Hot questions go on while cold storage is down; cold ones say so, or answer with what there is and tell what that lacks.
func TestColdStorageIsDown(t *testing.T) { // INV-8
	r, v, warm, key := newColdRig(t, nil)
	v.set(func(v *vault) { v.fail = cold.ErrUnavailable })
	target := "/v1/stats?type=view&key=" + key
	got := r.get(t, target)
	wantProblem(t, got, 503, wire.CodeColdUnavailable, "", "minutes from 2026-01-30T00:00:00Z to 2026-01-31T00:00:00Z are, in cold storage")
	if got.Header.Get("Retry-After") == "" || strings.Contains(string(got.Body), "10.1.2.3") {
		t.Errorf("got header %v, body %s", got.Header, got.Body)
	}
	wantProblem(t, r.get(t, "/v1/keys/view/"+key), 503, wire.CodeColdUnavailable, "", "")
	for _, hot := range []string{target + today, "/v1/stats?type=view&key=" + warm + today} {
		if got := r.get(t, hot); got.Status != 200 || text(t, got.fields(t)["value"]) != "1" {
			t.Errorf("%s: got %d %s, want the value 1", hot, got.Status, got.Body)
		}
	}
	partial := r.get(t, target+"&partial=true&wait=0s").fields(t)
	if text(t, partial["value"]) != "1" || partial["partial"] != true || partial["waited"] != false {
		t.Errorf("got %v, want 1 and that this is not all", partial)
	}
	want := fmt.Sprintf(`{"answered":0,"missing":[{"code":"cold_unavailable","from":"2026-01-30T00:00:00Z","partitions":[%d],"resolution":"minute","shard":"s2","to":"2026-01-31T00:00:00Z"}],"partitions":1}`,
		cluster.Partition("view", key, partitions))
	if diff := cmp.Diff(want, text(t, partial["coverage"])); diff != "" {
		t.Errorf("coverage differs (-want +got):\n%s", diff)
	}
	if whole := r.get(t, target+today+"&partial=true").fields(t); whole["partial"] != nil {
		t.Errorf("got %v, which lacks nothing", whole)
	}
	v.set(func(v *vault) { v.fail = nil })
	if got := r.get(t, target+"&partial=true").fields(t); text(t, got["value"]) != "4" || got["partial"] != nil {
		t.Errorf("got %v after it came back, want 4", got)
	}
	v.set(func(v *vault) { v.fail = cold.ErrUnavailable })
	if got := r.get(t, target).fields(t); text(t, got["value"]) != "4" {
		t.Errorf("got %v from memory, want 4", got)
	}
}

func TestBatchWhileColdStorageIsDown(t *testing.T) {
	r, v, warm, key := newColdRig(t, nil)
	v.set(func(v *vault) { v.fail = cold.ErrUnavailable })
	queries := fmt.Sprintf(`"queries":[{"key":%q},{"key":%q},{"key":%q,"from":"2026-01-31T00:00:00Z"}]`, warm, key, key)
	got := r.post(t, "/v1/stats:batch", `{"type":"view",`+queries+`}`)
	want := []string{"1", "cold_unavailable  true", "1"}
	if diff := cmp.Diff(want, outcomes(t, got)); diff != "" {
		t.Errorf("results differ (-want +got):\n%s", diff)
	}
	got = r.post(t, "/v1/stats:batch", `{"type":"view","partial":true,`+queries+`}`)
	if diff := cmp.Diff([]string{"1", "1", "1"}, outcomes(t, got)); diff != "" {
		t.Errorf("partial results differ (-want +got):\n%s", diff)
	}
	marks := []any{}
	for _, result := range got.fields(t)["results"].([]any) {
		marks = append(marks, result.(map[string]any)["partial"])
	}
	if diff := cmp.Diff([]any{nil, true, nil}, marks); diff != "" {
		t.Errorf("marks differ (-want +got):\n%s", diff)
	}
	wantProblem(t, r.post(t, "/v1/stats:batch", fmt.Sprintf(`{"type":"view","queries":[{"key":%q}]}`, key)), 503, wire.CodeColdUnavailable, "", "")
}

func TestALostObjectIsAnError(t *testing.T) { // INV-8: never a confident 0
	for name, test := range map[string]struct {
		lost error
		code wire.Code
	}{"missing": {cold.ErrMissing, wire.CodeColdMissing}, "damaged": {cold.ErrDamaged, wire.CodeColdDamaged}} {
		t.Run(name, func(t *testing.T) {
			r, v, warm, key := newColdRig(t, nil)
			v.set(func(v *vault) {
				for _, o := range v.objects {
					o.lost = test.lost
				}
			})
			got := r.get(t, "/v1/stats?type=view&key="+key)
			wantProblem(t, got, 500, test.code, "", "resolution=minute/date=")
			if strings.Contains(string(got.Body), "10.1.2.3") {
				t.Errorf("the problem tells what is behind: %s", got.Body)
			}
			if got := r.get(t, "/v1/stats?type=view&key="+warm); got.Status != 200 {
				t.Errorf("got %s for another key, want an answer", got.Body)
			}
			partial := r.get(t, "/v1/stats?type=view&partial=true&key="+key).fields(t)
			if text(t, partial["value"]) != "1" || partial["partial"] != true {
				t.Errorf("got %v, want 1 and that this is not all", partial)
			}
		})
	}
}

// A question whose objects are replaced between what the shard told and the read is put once more.
func TestCompactionBetweenAnswerAndRead(t *testing.T) { // INV-5
	r, v, _, key := newColdRig(t, nil)
	r.add(event.Event{Type: "view", Key: key, TimeMs: at(-20, 5, 0)})
	r.archive(v, now.Unix()/86400*minutesOfDay)
	replaced := false
	v.onRead = func(context.Context) error {
		if !replaced {
			replaced = true
			v.compact()
		}
		return nil
	}
	before := len(r.requests())
	if got := r.get(t, "/v1/stats?type=view&key="+key); text(t, got.fields(t)["value"]) != "5" {
		t.Errorf("got %d %s, want 5", got.Status, got.Body)
	}
	if asked := len(r.requests()) - before; asked != 2 {
		t.Errorf("the shard was asked %d times, want 2", asked)
	}
}

func TestColdBytesAreBounded(t *testing.T) { // INV-9
	r, v, warm, key := newColdRig(t, func(c *reader.Config) { c.Limits.ColdMaxBytes = 5*readBytes + 1 })
	for day := range 10 {
		r.add(event.Event{Type: "view", Key: key, TimeMs: at(-24*day-1, 0, 0)})
	}
	r.archive(v, now.Unix()/86400*minutesOfDay)
	target := "/v1/stats?type=view&key=" + key
	for _, partial := range []string{"", "&partial=true"} {
		wantProblem(t, r.get(t, target+partial+"&from=2026-01-20T00:00:00Z&explain=true"), 422, wire.CodeUnprocessable, "", "more than 1638401 bytes of cold storage")
	}
	if got := r.get(t, target+"&from=2026-01-28T00:00:00Z"); got.Status != 200 {
		t.Errorf("got %s for a shorter range, want an answer", got.Body)
	}
	if got := r.get(t, "/v1/stats?type=view&key="+warm); got.Status != 200 {
		t.Errorf("got %s for a key that has nothing there, want an answer", got.Body)
	}
}

// Questions that wait for a cold storage that hangs leave room for others, and end in time.
func TestHangingColdStorage(t *testing.T) { // INV-9
	synctest.Test(t, func(t *testing.T) {
		l, v := &ledger{asOf: now.UnixMilli()}, &vault{}
		r := rigOf(t, l, l, nil, withVault(t, v, func(c *reader.Config) {
			c.Limits.Cold, c.Limits.Questions, c.Limits.ColdTimeout = 2, 3, 5*time.Second
		}))
		r.add(event.Event{Type: "view", Key: "v1", TimeMs: at(-20, 5, 0)}, event.Event{Type: "view", Key: "v1", TimeMs: at(12, 0, 0)})
		r.archive(v, now.Unix()/86400*minutesOfDay)
		v.onRead = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		begin, replies := time.Now(), make(chan reply, 2)
		for range 2 {
			go func() { replies <- r.get(t, "/v1/stats?type=view&key=v1") }()
		}
		synctest.Wait()
		wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1"), 429, wire.CodeOverloaded, "", "2 cold questions are in flight")
		if got := r.get(t, "/v1/stats?type=view&key=v1"+today).fields(t); text(t, got["value"]) != "1" {
			t.Errorf("got %v of what is hot, want 1", got)
		}
		for range 2 {
			wantProblem(t, <-replies, 504, wire.CodeDeadline, "", "in cold storage, which did not answer in time")
		}
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("got answers after %v, want 5s", took)
		}
		if got := r.get(t, "/v1/stats?type=view&key=v1&partial=true").fields(t); text(t, got["value"]) != "1" || got["partial"] != true {
			t.Errorf("got %v, want 1 and that this is not all", got)
		}
	})
}

func TestReaderWithoutColdStorage(t *testing.T) {
	r, _, _, key := newColdRig(t, func(c *reader.Config) { c.Cold = nil })
	wantProblem(t, r.get(t, "/v1/stats?type=view&key="+key), 503, wire.CodeColdUnavailable, "", "can't be reached now")
	if err := r.reader.Ready(t.Context()); err != nil {
		t.Errorf("got %v, want ready", err)
	}
}

// Parts that make no sense are an error, and no value.
func TestColdPartsThatDoNotFit(t *testing.T) {
	c := cannedStats(0)
	c.answer.Keys[0].Points = []wire.Point{{Count: 1}}
	overlapping := wire.ColdPart{Shard: "s1", Resolution: "minute", From: 0, To: 10, Partitions: []int{1}, Objects: []wire.ColdObject{{Object: "o", Partitions: []int{1}}}}
	c.answer.Cold = []wire.ColdPart{overlapping, overlapping}
	r := rigOf(t, &c.ledger, c, nil, withVault(t, &vault{}, nil))
	wantProblem(t, r.get(t, "/v1/stats?type=view&key=v1"), 500, wire.CodeInternal, "", "could not be read")
}

func TestExplain(t *testing.T) {
	r, _, _, key := newColdRig(t, nil)
	got := r.get(t, "/v1/stats?type=view&explain=true&step=day&from=2026-01-30T00:00:00Z&key="+key).fields(t)
	want := fmt.Sprintf(`[{"from":"2026-01-30T00:00:00Z","keys":1,"segments":[`+
		`{"database":"s2-b","from":"2026-01-30T00:00:00Z","place":"late","resolution":"minute","shard":"s2","to":"2026-01-31T00:00:00Z"},`+
		`{"database":"s2-b","from":"2026-01-31T00:00:00Z","place":"hot","resolution":"minute","shard":"s2","to":"2026-02-01T00:00:00Z"},`+
		`{"cold":{"asked":1,"bytes_read":327680,"cached":0,"empty":0,"object_bytes":3481502,"objects":1,"partitions":[%d]},`+
		`"from":"2026-01-30T00:00:00Z","place":"cold","resolution":"minute","shard":"s2","to":"2026-01-31T00:00:00Z"}],"step":"day","to":"2026-02-01T00:00:00Z","type":"view"}]`,
		cluster.Partition("view", key, partitions))
	if diff := cmp.Diff(want, text(t, got["plan"])); diff != "" {
		t.Errorf("plan differs (-want +got):\n%s", diff)
	}
	if plan := r.get(t, "/v1/stats?type=view&explain=false&key="+key).fields(t)["plan"]; plan != nil {
		t.Errorf("got %v, want no plan", plan)
	}
	batch := r.post(t, "/v1/stats:batch", fmt.Sprintf(`{"type":"view","explain":true,"queries":[{"key":%q},{"key":%[1]q,"function":"sum"},{"key":%[1]q,"from":"2026-01-31T00:00:00Z"}]}`, key)).fields(t)
	if plans := batch["plan"].([]any); len(plans) != 2 {
		t.Errorf("got %d plans, want 2: %v", len(plans), plans)
	}
	wantProblem(t, r.get(t, "/v1/stats?type=view&key=a&explain=1"), 400, wire.CodeBadRequest, "explain", "must be true or false")
	wantProblem(t, r.get(t, "/v1/stats?type=view&key=a&partial=yes"), 400, wire.CodeBadRequest, "partial", "must be true or false")
}

// The document is not so loose that anything fits what cold answers say.
func TestDocumentBitesColdAnswers(t *testing.T) {
	r, _, _, key := newColdRig(t, nil)
	target := "/v1/stats?type=view&explain=true&partial=true&key=" + key
	whole := string(r.get(t, target).Body)
	for _, change := range [][2]string{
		{`"role":"cold",`, `"role":"cold","database":"s2-b",`},
		{`"objects":1,`, ``},
		{`"place":"cold"`, `"place":"icy"`},
		{`"asked":1`, `"asked":-1`},
		{`"key":`, `"partial":false,"key":`},
	} {
		bad := strings.Replace(whole, change[0], change[1], 1)
		if bad == whole {
			t.Errorf("%s is not in %s", change[0], whole)
		}
		header := http.Header{"Content-Type": {"application/json"}}
		if err := r.validate(httptest.NewRequest(http.MethodGet, target, nil), reply{200, header, []byte(bad)}); err == nil {
			t.Errorf("the document allows %s", bad)
		}
	}
}

// crowded names too many objects for an answer about more than two keys.
type crowded struct{ *ledger }

func (c crowded) Stats(ctx context.Context, r *wire.StatsRequest) (*wire.StatsAnswer, error) {
	if len(r.Keys) > 2 {
		return nil, wire.NewProblem(wire.CodeTooLarge, "the answer needs too many objects of cold storage")
	}
	return c.ledger.Stats(ctx, r)
}

func TestLookupsAreDividedWhereObjectsAreMany(t *testing.T) {
	l, v := &ledger{asOf: now.UnixMilli()}, &vault{}
	r := rigOf(t, l, crowded{l}, nil, withVault(t, v, nil))
	queries, want := []string{}, []string{}
	for i := range 7 {
		key := fmt.Sprint("k", i)
		r.add(event.Event{Type: "view", Key: key, TimeMs: at(-20, 5, 0), Weight: int64(i + 1)})
		queries, want = append(queries, fmt.Sprintf(`{"key":%q}`, key)), append(want, fmt.Sprint(i+1))
	}
	r.archive(v, now.Unix()/86400*minutesOfDay)
	got := r.post(t, "/v1/stats:batch", `{"type":"view","explain":true,"queries":[`+strings.Join(queries, ",")+`]}`)
	if diff := cmp.Diff(want, outcomes(t, got)); diff != "" {
		t.Errorf("results differ (-want +got):\n%s", diff)
	}
	if plans := got.fields(t)["plan"].([]any); len(plans) != 4 {
		t.Errorf("got %d plans, want one for each part: %v", len(plans), plans)
	}
}

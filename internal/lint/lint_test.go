package lint_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/internal/lint"
)

func TestTheTreeKeepsTheRules(t *testing.T) {
	sources, err := lint.Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 30 {
		t.Fatalf("found %d Go files: is this the root of the tree?", len(sources))
	}
	for name, check := range map[string]func([]*lint.Source) []string{
		"architecture":      lint.Architecture,
		"unused exceptions": lint.UnusedExceptions,
		"package names":     lint.PackageNames,
		"house rules":       lint.HouseRules,
	} {
		for _, violation := range check(sources) {
			t.Errorf("%s: %s", name, violation)
		}
	}
}

// file is a Go file that imports packages of ours.
func file(imports ...string) *fstest.MapFile {
	var text strings.Builder
	text.WriteString("package p\n")
	for _, imported := range imports {
		text.WriteString("import _ \"" + lint.Module + "/" + imported + "\"\n")
	}
	return &fstest.MapFile{Data: []byte(text.String())}
}

func TestArchitectureBites(t *testing.T) {
	for _, test := range []struct {
		name string
		path string
		file *fstest.MapFile
		want []string
	}{
		{"cmd wires all", "cmd/quipu/main.go", file("writer", "config", "mysql", "event"), nil},
		{"a role uses adapters and the domain", "writer/writer.go", file("eventlog", "wire/auth", "event"), nil},
		{"packages of one role", "shard-proxy/x.go", file("shard-proxy/cache"), nil},
		{"packages of one adapter", "wire/httpserver/x.go", file("wire", "wire/auth"), nil},
		{"tests use test equipment and other parts", "mysql/x_test.go", file("testkit", "zookeeper"), nil},
		{"test equipment", "scenario/x.go", file("testkit", "client", "event"), nil},
		{"the exception", "eventlog/remote/x.go", file("wire"), nil},

		{
			"the domain knows an adapter", "event/x.go", file("wire"),
			[]string{"event/x.go imports wire: domain does not import adapter"},
		},
		{
			"the domain knows the domain", "cluster/x.go", file("event"),
			[]string{"cluster/x.go imports event: one domain does not import another"},
		},
		{
			"an adapter knows another", "mysql/x.go", file("zookeeper"),
			[]string{"mysql/x.go imports zookeeper: one adapter does not import another"},
		},
		{
			"deep inside", "mysql/dialect/x.go", file("wire/auth"),
			[]string{"mysql/dialect/x.go imports wire/auth: one adapter does not import another"},
		},
		{
			"the exception holds for one package", "eventlog/embedded/x.go", file("wire"),
			[]string{"eventlog/embedded/x.go imports wire: one adapter does not import another"},
		},
		{
			"an adapter knows a role", "wire/x.go", file("reader"),
			[]string{"wire/x.go imports reader: adapter does not import role"},
		},
		{
			"a role knows another", "reader/x.go", file("writer"),
			[]string{"reader/x.go imports writer: one role does not import another"},
		},
		{
			"a role reads settings", "ingest/x.go", file("config"),
			[]string{"ingest/x.go imports config: only cmd imports config"},
		},
		{
			"a role's test reads settings", "ingest/x_test.go", file("config"),
			[]string{"ingest/x_test.go imports config: only cmd imports config"},
		},
		{
			"somebody imports cmd", "scenario/x_test.go", file("cmd/quipu"),
			[]string{"scenario/x_test.go imports cmd/quipu: nobody imports cmd"},
		},
		{
			"the product knows test equipment", "cmd/quipu/x.go", file("testkit"),
			[]string{"cmd/quipu/x.go imports testkit: cmd does not import test"},
		},
		{
			"settings know an adapter", "config/x.go", file("mysql"),
			[]string{"config/x.go imports mysql: config does not import adapter"},
		},
		{
			"a folder without a layer", "novelty/x.go", file(),
			[]string{"novelty/x.go: its folder is in no layer; say in internal/lint where it stands"},
		},
		{
			"an import without a layer", "reader/x.go", file("novelty"),
			[]string{"reader/x.go imports novelty: it is in no layer"},
		},
		{
			"behind a build constraint", "event/x_windows.go", file("reader"),
			[]string{"event/x_windows.go imports reader: domain does not import role"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			sources, err := lint.Load(fstest.MapFS{test.path: test.file})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lint.Architecture(sources)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHouseRulesBite(t *testing.T) {
	for _, test := range []struct {
		name, path, text string
		want             []string
	}{
		{"600 lines", "a/x.go", "package a\n" + strings.Repeat("\n", 599), nil},
		{"601 lines", "a/x.go", "package a\n" + strings.Repeat("\n", 600), []string{"a/x.go: 601 lines, split it at 600"}},
		{"init", "a/x.go", "package a\nfunc init() {}\n", []string{"a/x.go: func init: wire it in cmd"}},
		{"init in a test", "a/x_test.go", "package a\nfunc init() {}\n", []string{"a/x_test.go: func init: wire it in cmd"}},
		{"a method named init", "a/x.go", "package a\ntype t int\nfunc (t) init() {}\n", nil},
		{
			"sleep", "a/x.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
			[]string{"a/x.go: time.Sleep: wait for the condition, or use a timer beside ctx.Done()"},
		},
		{
			"sleep under another name", "a/x.go", "package a\nimport clock \"time\"\nvar nap = clock.Sleep\n",
			[]string{"a/x.go: time.Sleep: wait for the condition, or use a timer beside ctx.Done()"},
		},
		{
			"sleep without a name", "a/x.go", "package a\nimport . \"time\"\nvar nap = Sleep\n",
			[]string{"a/x.go: time.Sleep: wait for the condition, or use a timer beside ctx.Done()"},
		},
		{"sleep in a test", "a/x_test.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", nil},
		{"sleep in a comment", "a/x.go", "package a\nimport \"time\"\n// time.Sleep(1)\nvar t = time.Second\n", nil},
		{"another's Sleep", "a/x.go", "package a\nimport \"example.org/time/bed\"\nvar nap = bed.Sleep\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			sources, err := lint.Load(fstest.MapFS{test.path: {Data: []byte(test.text)}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lint.HouseRules(sources)); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackageNamesBite(t *testing.T) {
	sources, err := lint.Load(fstest.MapFS{"reader/util/x.go": file(), "reader/x.go": file()})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"reader/util: a package is named after what it is about, not util"}
	if diff := cmp.Diff(want, lint.PackageNames(sources)); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

func TestLoadLeavesOutWhatIsNotOurs(t *testing.T) {
	sources, err := lint.Load(fstest.MapFS{
		"a/x.go":          file(),
		"a/testdata/x.go": file(),
		".git/x.go":       file(),
		"data/s1/x.go":    file(),
		"tools/go.mod":    {Data: []byte("module tools\n")},
		"tools/x.go":      file(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, source := range sources {
		got = append(got, source.Path)
	}
	if diff := cmp.Diff([]string{"a/x.go"}, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if _, err := lint.Load(fstest.MapFS{"a/x.go": {Data: []byte("not Go")}}); err == nil {
		t.Error("a file that isn't Go was accepted")
	}
}

func TestNoMergeIsUnfinished(t *testing.T) {
	found, err := lint.UnfinishedMerges(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range found {
		t.Error(place)
	}
	bites := fstest.MapFS{
		"a.md": {Data: []byte("one\n" + "<<<<<<<" + " HEAD\ntwo\n=======\nthree\n" + ">>>>>>>" + " other\n")}, "b.go": {Data: []byte("package b // <<<<<<< \n")},
	}
	found, err = lint.UnfinishedMerges(bites)
	if want := []string{"a.md:2: a merge was not finished", "a.md:6: a merge was not finished"}; err != nil || cmp.Diff(want, found) != "" {
		t.Errorf("got %v, %v, want %v", found, err, want)
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quipudb/quipu/wire"
)

func TestReadKeys(t *testing.T) {
	text := func(s string) *string { return &s }
	tests := map[string]struct {
		csv, eventType string
		want           []wire.KeyAttributes
	}{
		"all columns": {"owner,key,type,title\nann,v1,view,\"Cats, again\"\n,v2,like,\n", "", []wire.KeyAttributes{
			{Type: "view", Key: "v1", Title: text("Cats, again"), Owner: text("ann")},
			{Type: "like", Key: "v2", Title: text(""), Owner: text("")},
		}},
		"type by flag":      {"key,title\r\nv1,Cats\r\n", "view", []wire.KeyAttributes{{Type: "view", Key: "v1", Title: text("Cats")}}},
		"flag as a default": {"key,type\nv1,\nv2,like\n", "view", []wire.KeyAttributes{{Type: "view", Key: "v1"}, {Type: "like", Key: "v2"}}},
		"byte order mark":   {"\ufeffKey , Title\nv1,Cats\n", "view", []wire.KeyAttributes{{Type: "view", Key: "v1", Title: text("Cats")}}},
		"no keys":           {"key,title\n", "view", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := readKeys("keys.csv", strings.NewReader(test.csv), test.eventType)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("keys differ (−want +got):\n%s", diff)
			}
		})
	}
}

func TestBadKeyFilesNameTheLine(t *testing.T) {
	long := strings.Repeat("x", 256)
	tests := map[string]struct{ csv, want string }{
		"empty":            {"", "keys.csv: it is empty"},
		"unknown column":   {"key,name\n", `keys.csv:1: unknown column "name"`},
		"column twice":     {"key,title,title\n", `keys.csv:1: column "title" comes twice`},
		"no key":           {"type,title\n", "keys.csv:1: column key is missing"},
		"no type":          {"key,title\n", "keys.csv:1: column type is missing, and so is --type"},
		"too few cells":    {"type,key\nview\n", "keys.csv:2: wrong number of fields"},
		"bare quote":       {"type,key\nview,a\"b\n", `keys.csv:2: bare " in non-quoted-field`},
		"empty key":        {"type,key\nview,v1\nview,\n", "keys.csv:3: the key is empty"},
		"long key":         {"type,key\nview," + long + "\n", `keys.csv:2: key "` + long[:40] + `"… has 256 bytes, at most 255 are allowed`},
		"key not in UTF-8": {"type,key\nview,\xff\n", `keys.csv:2: key "\xff" is not UTF-8`},
		"bad type":         {"type,key\nView,v1\n", `keys.csv:2: type "View" is no name of an event type`},
		"long title":       {"type,key,title\nview,v1," + long + "\n", `keys.csv:2: title of key "v1" has 256 bytes, at most 255 are allowed`},
		"after a long one": {"type,key,title\nview,v1,\"a\nb\"\nView,v2,c\n", `keys.csv:4: type "View"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := readKeys("keys.csv", strings.NewReader(test.csv), "")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one that says %q", err, test.want)
			}
		})
	}
	_, err := readKeys("keys.csv", strings.NewReader("type,key\n"+strings.Repeat("View,v1\n", 100)), "")
	if got := strings.Count(err.Error(), "\n") + 1; got != maxKeyMistakes {
		t.Errorf("got %d mistakes told, want %d", got, maxKeyMistakes)
	}
}

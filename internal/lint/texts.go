package lint

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// texts are the endings of files that people write and read, besides Go.
var texts = []string{".go", ".md", ".yaml", ".yml", ".sql", ".sh", ".service", ".cnf", ".json", ".html", ""}

// UnfinishedMerges lists what a merge left for somebody to decide on, in all of our texts.
func UnfinishedMerges(tree fs.FS) (found []string, err error) {
	err = walk(tree, func(name string, entry fs.DirEntry) error {
		if !entry.Type().IsRegular() || !slices.Contains(texts, path.Ext(name)) {
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(bytes.NewReader(content))
		lines.Buffer(nil, len(content)+1)
		for n := 1; lines.Scan(); n++ {
			if bytes.HasPrefix(lines.Bytes(), []byte("<<<<<<< ")) || bytes.HasPrefix(lines.Bytes(), []byte(">>>>>>> ")) {
				found = append(found, fmt.Sprintf("%s:%d: a merge was not finished", name, n))
			}
		}
		return nil
	})
	return found, err
}

// Tlog_oracle checks a static tlog-tiles tree with golang.org/x/mod's sumdb/note and sumdb/tlog, which share no code with ours.
//
//	tlog_oracle VKEY DIR CHECKPOINT...
//
// The checkpoints are files in DIR, the smallest tree first. Every one must open with VKEY and have the root that the tiles
// have; every entry must have its leaf in them; inclusion is proved for a sample of each tree's entries, both ends among them;
// each tree must be consistent with all smaller ones. Proofs that somebody else made are read from standard input as
// {"samples": 2 or more, "inclusion": [{"index", "size", "proof"}], "consistency": [{"old", "size", "proof"}]}, hashes in base64,
// and must hold between those checkpoints. Prints what was checked, one JSON object a line: first each tree, then the proofs.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

type report struct {
	Size        int64 `json:"size"`
	Leaves      int64 `json:"leaves"`
	Inclusion   int64 `json:"inclusion"`
	Consistency int64 `json:"consistency"`
}

type given struct {
	Samples   int64
	Inclusion []struct {
		Index, Size int64
		Proof       tlog.RecordProof
	}
	Consistency []struct {
		Old, Size int64
		Proof     tlog.TreeProof
	}
}

// folder reads tiles as files; x/mod writes the tile height into its paths, tlog-tiles does not.
type folder string

func (f folder) read(t tlog.Tile) ([]byte, error) {
	path := strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
	path = strings.Replace(path, "tile/data/", "tile/entries/", 1)
	return os.ReadFile(filepath.Join(string(f), filepath.FromSlash(path)))
}

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for at, tile := range tiles {
		raw, err := f.read(tile)
		if err != nil {
			return nil, err
		}
		found[at] = raw
	}
	return found, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

func (f folder) open(name string, verifier note.Verifier) (tree tlog.Tree, err error) {
	raw, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		return tree, fmt.Errorf("not three lines that begin with the origin: %q", opened.Text)
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

func (f folder) entries(number, count int64) ([][]byte, error) {
	raw, err := f.read(tlog.Tile{H: height, L: -1, N: number, W: int(count)})
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(raw) > 0 {
		if len(raw) < 2 || len(raw) < 2+int(binary.BigEndian.Uint16(raw)) {
			return nil, fmt.Errorf("bundle %d ends within an entry", number)
		}
		end := 2 + int(binary.BigEndian.Uint16(raw))
		entries = append(entries, raw[2:end])
		raw = raw[end:]
	}
	if int64(len(entries)) != count {
		return nil, fmt.Errorf("bundle %d has %d entries instead of %d", number, len(entries), count)
	}
	return entries, nil
}

func (f folder) checkEntries(tree tlog.Tree, hashes tlog.HashReader, samples int64, done *report) error {
	stride := tree.N/(samples-1) + 1
	for first := int64(0); first < tree.N; first += width {
		entries, err := f.entries(first/width, min(tree.N-first, width))
		if err != nil {
			return err
		}
		var indexes []int64
		for at := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(at)))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for at, entry := range entries {
			index, leaf := first+int64(at), tlog.RecordHash(entry)
			if leaf != leaves[at] {
				return fmt.Errorf("entry %d is not the leaf in the tiles", index)
			}
			done.Leaves++
			if index%stride != 0 && index != tree.N-1 {
				continue
			}
			proof, err := tlog.ProveRecord(tree.N, index, hashes)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			done.Inclusion++
		}
	}
	return nil
}

func checkGrowth(tree tlog.Tree, older []tlog.Tree, hashes tlog.HashReader, done *report) error {
	for _, old := range older {
		if old.N == 0 {
			continue // x/mod proves nothing from the empty tree
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("from %d: %w", old.N, err)
		}
		done.Consistency++
	}
	return nil
}

func (f folder) check(name string, verifier note.Verifier, older []tlog.Tree, samples int64) (tree tlog.Tree, done report, err error) {
	if tree, err = f.open(name, verifier); err != nil {
		return tree, done, err
	}
	done.Size = tree.N
	if tree.N == 0 {
		if tree.Hash != tlog.Hash(sha256.Sum256(nil)) {
			err = fmt.Errorf("the empty tree has the root %v", tree.Hash)
		}
		return tree, done, err
	}
	hashes := tlog.TileHashReader(tree, f)
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return tree, done, err
	}
	if root != tree.Hash {
		return tree, done, fmt.Errorf("the tiles have the root %v", root)
	}
	if err = f.checkEntries(tree, hashes, samples, &done); err != nil {
		return tree, done, err
	}
	return tree, done, checkGrowth(tree, older, hashes, &done)
}

func (f folder) checkGiven(proofs given, trees map[int64]tlog.Tree) error {
	for _, one := range proofs.Inclusion {
		tree, known := trees[one.Size]
		first := one.Index - one.Index%width
		entries, err := f.entries(first/width, min(tree.N-first, width))
		if err != nil || !known {
			return fmt.Errorf("size %d: %v", one.Size, err)
		}
		leaf := tlog.RecordHash(entries[one.Index-first])
		if err := tlog.CheckRecord(one.Proof, tree.N, tree.Hash, one.Index, leaf); err != nil {
			return fmt.Errorf("given proof of entry %d in %d: %w", one.Index, one.Size, err)
		}
	}
	for _, one := range proofs.Consistency {
		tree, old := trees[one.Size], trees[one.Old]
		if err := tlog.CheckTree(one.Proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("given proof from %d to %d: %w", one.Old, one.Size, err)
		}
	}
	return nil
}

func min(a, b int64) int64 {
	if a < b {
		return a
	}
	return b
}

func run(vkey, dir string, checkpoints []string) error {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return err
	}
	var proofs given
	if err := json.NewDecoder(os.Stdin).Decode(&proofs); err != nil {
		return err
	}
	var older []tlog.Tree
	trees := make(map[int64]tlog.Tree)
	for _, name := range checkpoints {
		tree, done, err := folder(dir).check(name, verifier, older, proofs.Samples)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		older, trees[tree.N] = append(older, tree), tree
		if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
			return err
		}
	}
	if err := folder(dir).checkGiven(proofs, trees); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int{
		"inclusion": len(proofs.Inclusion), "consistency": len(proofs.Consistency),
	})
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: tlog_oracle VKEY DIR CHECKPOINT...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

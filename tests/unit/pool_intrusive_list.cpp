#include <doctest/doctest.h>

#include <vector>

#include "pool/intrusive_list.h"

namespace {

struct Element {
  int value = 0;
  bezel::pool::ListHook<Element> hook, other_hook;
};

using List = bezel::pool::IntrusiveList<Element, &Element::hook>;
using OtherList = bezel::pool::IntrusiveList<Element, &Element::other_hook>;

std::vector<int> values(const List& list) {
  std::vector<int> found;
  for (const Element* element = list.front(); element != nullptr; element = List::next(*element)) {
    found.push_back(element->value);
  }
  return found;
}

}  // namespace

TEST_CASE("elements stay in the order in which they came, whichever are taken out") {
  List list;
  Element a{1, {}, {}}, b{2, {}, {}}, c{3, {}, {}};
  CHECK(list.empty());
  list.push_back(a);
  list.push_back(b);
  list.push_back(c);
  CHECK(values(list) == std::vector{1, 2, 3});
  CHECK(list.size() == 3);
  CHECK(list.back() == &c);
  list.remove(b);
  CHECK(values(list) == std::vector{1, 3});
  CHECK_FALSE(List::contains(b));
  list.remove(b);  // in no list: nothing happens
  CHECK(list.size() == 2);
  list.remove(a);
  CHECK(list.front() == &c);
  CHECK(list.back() == &c);
  list.remove(c);
  CHECK(list.empty());
  CHECK(list.back() == nullptr);
  list.push_back(b);
  CHECK(values(list) == std::vector{2});
}

TEST_CASE("an element may be in one list for each of its hooks") {
  List list;
  OtherList other;
  Element a;
  list.push_back(a);
  other.push_back(a);
  list.remove(a);
  CHECK_FALSE(List::contains(a));
  CHECK(OtherList::contains(a));
  CHECK(other.size() == 1);
}

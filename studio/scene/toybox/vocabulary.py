"""The words that the toybox knows, English and Chinese: data. `WORDS` is all of it, ready to look things up in.

An entry is ``name: "english, more english | chinese, more chinese"``; English nouns are also known in their plural.
"""

from __future__ import annotations

import re

THINGS: dict[str, str] = {
    "sphere": "sphere, ball, orb, globe, marble ball | 球, 球体, 圆球, 小球, 皮球",
    "cube": "cube, box, block | 立方体, 方块, 正方体, 盒子, 箱子, 积木",
    "cylinder": "cylinder, column, pillar | 圆柱, 圆柱体, 柱子",
    "cone": "cone | 圆锥, 圆锥体, 锥体",
    "torus": "torus, ring, donut, doughnut, tori | 圆环, 环, 甜甜圈, 圆环体",
    "capsule": "capsule, pill | 胶囊, 胶囊体",
    "pyramid": "pyramid | 金字塔, 棱锥",
    "gem": "gem, diamond, jewel, crystal, gemstone | 宝石, 钻石, 水晶",
    "egg": "egg | 蛋, 鸡蛋",
    "star": "star | 星星, 星形, 五角星",
    "heart": "heart | 心, 爱心, 心形",
    "disc": "disc, disk, coin, plate | 圆盘, 圆片, 硬币, 盘子",
    "bowl": "bowl | 碗",
    "table": "table, desk | 桌子, 桌, 书桌",
    "chair": "chair | 椅子, 椅",
    "lamp": "lamp, table lamp | 灯, 台灯, 电灯",
    "cup": "cup, mug, teacup, coffee cup | 杯子, 茶杯, 咖啡杯, 马克杯, 水杯",
    "teapot": "teapot, kettle, tea pot | 茶壶, 水壶",
    "vase": "vase | 花瓶",
    "bottle": "bottle | 瓶子, 瓶",
    "candle": "candle | 蜡烛",
    "book": "book | 书, 书本",
    "gift": "gift, present, gift box | 礼物, 礼盒",
    "apple": "apple | 苹果",
    "cake": "cake, birthday cake | 蛋糕, 生日蛋糕",
    "icecream": "ice cream, icecream, ice cream cone | 冰淇淋, 冰激凌",
    "crown": "crown | 皇冠, 王冠",
    "drum": "drum | 鼓",
    "trophy": "trophy, goblet | 奖杯",
    "tree": "tree, oak | 树, 大树, 小树, 树木",
    "pine": "pine, pine tree, fir, fir tree, christmas tree, spruce | 松树, 圣诞树, 杉树",
    "house": "house, home, cottage, cabin, hut | 房子, 屋子, 小屋, 房屋",
    "rocket": "rocket, spaceship, spacecraft | 火箭, 飞船, 宇宙飞船",
    "boat": "boat, ship, sailboat, sailing boat | 船, 小船, 帆船, 轮船",
    "mushroom": "mushroom, toadstool | 蘑菇",
    "car": "car, automobile | 汽车, 车, 小汽车, 轿车",
    "train": "train, locomotive, steam train | 火车, 火车头",
    "castle": "castle, palace, fortress | 城堡, 宫殿",
    "lighthouse": "lighthouse, light house, tower | 灯塔, 塔",
    "windmill": "windmill | 风车",
    "flower": "flower, daisy, blossom | 花, 花朵, 鲜花",
    "cactus": "cactus, cacti | 仙人掌",
    "rock": "rock, boulder | 石头, 岩石, 石块",
    "cloud": "cloud | 云, 云朵, 白云",
    "planet": "planet, saturn | 行星, 土星, 星球",
    "moon": "moon, crescent | 月亮, 月球",
    "balloon": "balloon, hot air balloon | 气球, 热气球",
    "ufo": "ufo, flying saucer | 飞碟",
    "fence": "fence | 栅栏, 篱笆",
    "bench": "bench | 长椅, 长凳",
    "barrel": "barrel, keg | 木桶, 桶",
    "tent": "tent | 帐篷",
    "umbrella": "umbrella, parasol | 伞, 雨伞, 遮阳伞",
    "snowman": "snowman, snowmen | 雪人",
    "robot": "robot, android | 机器人",
    "duck": "duck, rubber duck | 鸭子, 小鸭, 小黄鸭",
    "fish": "fish | 鱼, 小鱼, 金鱼",
    "cat": "cat, kitten | 猫, 小猫",
    "rabbit": "rabbit, bunny, hare | 兔子, 小兔, 兔",
    "bird": "bird | 鸟, 小鸟",
}

EMOJI: dict[str, str] = {
    "🔴": "sphere", "⭐": "star", "🌟": "star", "❤": "heart", "💎": "gem", "☕": "cup",
    "🫖": "teapot", "📖": "book", "🎁": "gift", "🍎": "apple", "🎂": "cake", "🍦": "icecream",
    "👑": "crown", "🥁": "drum", "🏆": "trophy", "🌳": "tree", "🌲": "pine", "🎄": "pine",
    "🏠": "house", "🚀": "rocket", "⛵": "boat", "🍄": "mushroom", "🚗": "car", "🚂": "train",
    "🏰": "castle", "🌸": "flower", "🌵": "cactus", "🪨": "rock", "☁": "cloud", "🪐": "planet",
    "🌙": "moon", "🎈": "balloon", "🛸": "ufo", "⛺": "tent", "☂": "umbrella", "⛄": "snowman",
    "🤖": "robot", "🦆": "duck", "🐟": "fish", "🐱": "cat", "🐰": "rabbit", "🐦": "bird",
    "🥚": "egg", "🍩": "torus", "🕯": "candle", "🪑": "chair",
}  # fmt: skip

COLOURS: dict[str, str] = {
    "red": "red, crimson, scarlet | 红, 红色, 大红",
    "orange": "orange | 橙, 橙色, 橘色, 橘黄色",
    "yellow": "yellow | 黄, 黄色",
    "green": "green | 绿, 绿色",
    "teal": "teal, turquoise, cyan | 青, 青色",
    "blue": "blue | 蓝, 蓝色, 天蓝色",
    "navy": "navy, dark blue, navy blue | 深蓝, 深蓝色, 藏青色",
    "purple": "purple, violet, lilac | 紫, 紫色",
    "pink": "pink, rose | 粉, 粉色, 粉红, 粉红色",
    "brown": "brown | 棕, 棕色, 褐色, 咖啡色",
    "beige": "beige, cream, ivory | 米色, 米黄色",
    "white": "white | 白, 白色",
    "grey": "grey, gray | 灰, 灰色",
    "black": "black | 黑, 黑色",
}

MATERIALS: dict[str, str] = {
    "matte": "matte, matt, dull, clay, rubber | 哑光, 磨砂, 橡胶, 粘土",
    "glossy": "glossy, shiny, plastic, ceramic, porcelain, polished, lacquered | 光滑, 光亮, 亮面, 塑料, 陶瓷, 瓷",
    "metal": "metal, metallic, steel, chrome, iron | 金属, 钢, 铁, 不锈钢",
    "glass": "glass, transparent, crystal clear | 玻璃, 透明",
    "gold": "gold, golden | 金, 金色, 黄金, 金子",
    "silver": "silver | 银, 银色, 白银",
    "copper": "copper, bronze, brass | 铜, 铜色, 青铜, 黄铜",
    "wood": "wood, wooden, oaken, timber | 木, 木头, 木制, 木质, 实木",
    "stone": "stone, concrete, granite | 石质, 石制, 混凝土, 花岗岩",
    "marble": "marble | 大理石",
    "brick": "brick | 砖, 砖头",
    "ice": "ice, icy, frozen | 冰, 冰块",
}

PATTERNS: dict[str, str] = {
    "striped": "striped, stripy, with stripes | 条纹, 带条纹",
    "spotted": "spotted, dotted, polka dot, polka dots, with dots, with spots | 圆点, 带圆点, 斑点, 波点",
    "checkered": "checkered, checked, chequered, checkerboard, chessboard | 格子, 棋盘, 棋盘格",
}

SIZES: dict[float, str] = {
    0.45: "tiny, very small, mini, miniature | 极小, 迷你, 很小",
    0.7: "small, little, short | 小",
    1.0: "medium, normal, medium sized | 中等, 普通",
    1.4: "big, large, tall, great | 大, 高, 高大, 大大",
    1.9: "huge, giant, enormous, gigantic, very big, very large | 巨大, 超大, 很大, 巨型",
}

COUNTS: dict[int, str] = {
    1: "one, single, 1 | 一, 单个, 1",
    2: "two, couple, pair, both, 2 | 二, 两, 一对, 2",
    3: "three, few, a few, some, 3 | 三, 几, 一些, 3",
    4: "four, several, 4 | 四, 4",
    5: "five, 5 | 五, 5",
    6: "six, many, lots, 6 | 六, 许多, 很多, 6",
    7: "seven, 7 | 七, 7",
    8: "eight, 8 | 八, 8",
    9: "nine, 9 | 九, 9",
    10: "ten, 10 | 十, 10",
    11: "eleven, 11 | 十一, 11",
    12: "twelve, dozen, 12 | 十二, 12",
}

RELATIONS: dict[str, str] = {
    "on": "on, upon, atop, on top of, standing on, sitting on, lying on, in, inside, into, inside of",
    "above": "above, over, floating above, floating over, hovering over, flying over",
    "under": "under, below, beneath, underneath",
    "beside": "beside, next to, near, by, alongside, close to, at the side of, at",
    "left": "left of, on the left of, to the left of, at the left of",
    "right": "right of, on the right of, to the right of, at the right of",
    "behind": "behind, in back of, at the back of",
    "front": "in front of, before, front of",
    "around": "around, round about, surrounding",
    "between": "between, among, amid, in between",
}

PLACES: dict[str, str] = {
    "on": "上, 上面, 里, 里面, 中, 之上, 顶上",
    "above": "上方, 上空",
    "under": "下, 下面, 下方, 底下, 之下",
    "beside": "旁, 旁边, 边上, 附近, 旁边的",
    "left": "左, 左边, 左侧, 左面",
    "right": "右, 右边, 右侧, 右面",
    "behind": "后, 后面, 背后, 后边, 之后",
    "front": "前, 前面, 前边, 前方",
    "around": "周围, 四周",
    "between": "之间, 中间",
}
"""What follows the thing that something is placed by, in Chinese."""

LIGHTS: dict[str, str] = {
    "studio": "studio, photo studio, indoors, product shot | 摄影棚, 影棚, 室内, 工作室",
    "day": "day, daylight, daytime, sunny, sunshine, morning, noon, afternoon, sunny day, blue sky, outdoors, summer | "
    "白天, 晴天, 阳光, 早晨, 上午, 中午, 下午, 蓝天, 户外, 夏天",
    "sunset": "sunset, dusk, evening, sunrise, dawn, golden hour, twilight | 日落, 夕阳, 傍晚, 黄昏, 日出, 黎明, 晚霞",
    "night": "night, midnight, moonlight, starry, starry sky, night sky, nighttime, space, stars in the sky | "
    "夜, 夜晚, 夜里, 晚上, 星空, 月光, 夜空, 深夜, 太空",
    "fog": "fog, foggy, mist, misty, haze, hazy | 雾, 大雾, 雾气, 薄雾, 有雾, 雾中",
}

FLOORS: dict[str, str] = {
    "checker": "checkered floor, checkerboard floor, chessboard floor, checked floor | 棋盘格地板, 格子地板, 棋盘地板",
    "wood": "wooden floor, wood floor, parquet, floorboards | 木地板, 木头地板",
    "grass": "grass, lawn, meadow, field, garden, park, grassy, forest floor | 草地, 草坪, 草原, 草, 花园, 田野, 公园",
    "water": "water, sea, ocean, lake, river, pond | 水, 水面, 海, 大海, 海面, 湖, 湖面, 湖水, 河, 海上",
    "sand": "sand, beach, desert, dune, sandy | 沙, 沙子, 沙滩, 沙漠, 海滩, 沙地",
    "snow": "snow, snowy, winter, snowfield | 雪, 雪地, 雪原, 冬天, 积雪",
    "tiles": "tiles, tile floor, tiled floor, tiled | 瓷砖, 瓷砖地板, 地砖",
    "marble": "marble floor | 大理石地板, 大理石地面",
    "plain": "plain floor | 素色地板",
}

BACKDROPS = "background, backdrop, sky, wall | 背景, 天空, 背景墙, 墙"
GROUNDS = "floor, ground | 地板, 地面, 地上"

FILLERS = (
    "a, an, the, and, or, of, is, are, there, it's, its, this, that, these, those, made, from, like, looking, very, "
    "scene, picture, image, photo, render, rendering, view, light, lit, lighting, toy, standing, sitting, lying, "
    "floating, hovering, flying, placed, resting, sized, shaped, solid, shape, object, colored, coloured, color, "
    "colour, material, has, have, having, where, which, while, as, to, left, right, front, side, top, middle, time, "
    "please, show, draw, me, make, surface, coffee, style, against, s, group, row, set, number, lots of, "
    "couple of, pair of, also, then, just, one of, soft, bright, warm, dramatic, simple, nice, "
    "beautiful, cute, colourful, colorful"
    " | 的, 个, 只, 棵, 座, 辆, 艘, 把, 张, 盏, 朵, 匹, 架, 支, 条, 颗, "
    "块, 本, 幢, 栋, 间, 枚, 根, 面, 顶, 位, 群, 片, 杯, 有, 是, 着, "
    "放, 放着, 这, 那, 地, 了, 色, 时, 做, 做的, 制成, 做成, 由, 站, 坐, "
    "躺, 停, 长, 飞, 漂, 漂浮, 摆, 摆着, 一个, 一只, 场景, 图片, 照片, 画, "
    "光, 灯光, 光线, 可爱, 漂亮, 美丽, 简单, 它, 形状, 物体, 玩具, 材质, 风格"
)

PRONOUNS = "it, them, him, her | 它, 它们"
ANDS = "and, plus, as well as | 和, 与, 以及, 还有, 跟, 及"
AT = "在, 位于"
WITH = "with, holding, carrying, wearing, plus a | 带着, 拿着, 抱着"
OF = "of, made of, made from, made out of"

_PLURALS = {"tori", "cacti", "snowmen"}
_NO_PLURAL = {"fish", *_PLURALS}

Word = tuple[str, object]
"""(what sort of word, what it means); the sort of a thing's plural is ``many``."""


def _plurals(word: str) -> list[str]:
    if word in _NO_PLURAL:
        return [word]
    if re.search(r"(s|x|ch|sh)$", word):
        return [word, word + "es"]
    if re.search(r"[^aeiou]y$", word):
        return [word, word[:-1] + "ies"]
    return [word, word + "s", *([word[:-1] + "ves"] if word.endswith("f") else [])]


def _all_words() -> dict[tuple[str, ...], Word]:
    """English as tuples of lower-case words, Chinese as tuples of one string."""
    found: dict[tuple[str, ...], Word] = {}

    def add(sort: str, meaning: object, text: str, *, plural: bool = False) -> None:
        english, _, chinese = text.partition("|")
        if "|" not in text and re.search(r"[\u4e00-\u9fff]", text):
            english, chinese = "", text
        for phrase in (p.strip() for p in english.split(",")):
            if phrase:
                *before, last = phrase.split()
                for form in _plurals(last) if plural else [last]:
                    many = sort == "thing" and (form != last or form in _PLURALS)
                    found[(*before, form)] = ("many" if many else sort, meaning)
        for phrase in (p.strip() for p in chinese.split(",")):
            if phrase:
                found[(phrase,)] = (sort, meaning)

    add("filler", None, FILLERS)
    for sort, table, plural in (
        ("count", COUNTS, False), ("size", SIZES, False), ("colour", COLOURS, False), ("material", MATERIALS, False),
        ("pattern", PATTERNS, False), ("relation", RELATIONS, False), ("place", PLACES, False),
        ("light", LIGHTS, False), ("floor", FLOORS, True), ("thing", THINGS, True), ("thing", EMOJI, False),
    ):  # fmt: skip
        for name, text in table.items():
            if table is EMOJI:
                found[(name,)] = ("thing", text)
            else:
                add(sort, name, text, plural=plural)
    add("backdrop", None, BACKDROPS, plural=True)
    add("ground", None, GROUNDS, plural=True)
    add("pronoun", None, PRONOUNS)
    add("and", None, ANDS)
    add("at", None, AT)
    add("with", None, WITH)
    add("of", None, OF)
    return found


WORDS: dict[tuple[str, ...], Word] = _all_words()
LONGEST = max(len(k) for k in WORDS)
"""Words in the longest phrase."""

LONGEST_CHINESE = max(len(k[0]) for k in WORDS if "\u4e00" <= k[0][0] <= "\u9fff")
"""Characters in the longest Chinese word."""

"""The small world that the tiny models live in: its words, and the facts that hold between them.

Written by hand, so that every sentence built from it is true and reads naturally. `prose` turns it into
plain text for pretraining, `questions` into instruction rows; neither adds facts of its own.
"""

# Tables of words read best as lines of words.
# ruff: noqa: E501, SIM905
# fmt: off

NAMES = tuple("Anna Ben Clara David Emma Felix Grace Hugo Ida Jack Kate Leo Mia Noah Olga Paul".split())
GIRLS = frozenset({"Anna", "Clara", "Emma", "Grace", "Ida", "Kate", "Mia", "Olga"})
DAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
SIZES = ("tiny", "small", "large", "huge")
"""Ascending; two animals are compared only when their sizes differ."""

# name: (kind, size, colour, home, food, what it does)
ANIMALS: dict[str, tuple[str, str, str, str, str, str]] = {
    "ant": ("insect", "tiny", "black", "under the ground", "crumbs", "carries heavy leaves"),
    "bear": ("animal", "huge", "brown", "in the forest", "berries and honey", "sleeps all winter"),
    "bee": ("insect", "tiny", "yellow", "in a hive", "nectar", "makes honey"),
    "butterfly": ("insect", "tiny", "orange", "in the garden", "nectar", "flies from flower to flower"),
    "camel": ("animal", "huge", "brown", "in the desert", "dry grass", "walks far without water"),
    "cat": ("pet", "small", "grey", "in a house", "fish and meat", "hunts mice at night"),
    "cow": ("farm animal", "large", "brown", "on a farm", "grass", "gives us milk"),
    "crocodile": ("reptile", "huge", "green", "in warm rivers", "fish and birds", "hides under the water"),
    "crow": ("bird", "small", "black", "in tall trees", "seeds and worms", "calls in a loud voice"),
    "deer": ("animal", "large", "brown", "in the forest", "leaves and grass", "runs very fast"),
    "dog": ("pet", "small", "brown", "in a house", "meat and bones", "barks at strangers"),
    "dolphin": ("sea animal", "large", "grey", "in the sea", "fish", "jumps out of the water"),
    "donkey": ("farm animal", "large", "grey", "on a farm", "hay", "carries heavy bags"),
    "duck": ("bird", "small", "brown", "on the pond", "water plants", "swims on the water"),
    "eagle": ("bird", "large", "brown", "in the mountains", "fish and rabbits", "flies very high"),
    "elephant": ("animal", "huge", "grey", "on the grassy plains", "leaves and fruit", "drinks with its trunk"),
    "fox": ("animal", "small", "red", "in the forest", "mice and berries", "hunts at night"),
    "frog": ("animal", "tiny", "green", "near the pond", "flies", "jumps into the water"),
    "giraffe": ("animal", "huge", "yellow", "on the grassy plains", "leaves", "reaches the tops of trees"),
    "goat": ("farm animal", "large", "white", "on a farm", "grass and leaves", "climbs steep rocks"),
    "goldfish": ("fish", "tiny", "orange", "in a bowl", "fish food", "swims in circles"),
    "goose": ("bird", "small", "white", "on a farm", "grass and seeds", "flies south in winter"),
    "hen": ("farm bird", "small", "brown", "on a farm", "corn", "lays eggs"),
    "horse": ("farm animal", "huge", "brown", "on a farm", "hay and apples", "carries people on its back"),
    "kangaroo": ("animal", "large", "brown", "in dry fields", "grass", "jumps on its back legs"),
    "lion": ("wild cat", "huge", "yellow", "on the grassy plains", "meat", "roars in a loud voice"),
    "monkey": ("animal", "small", "brown", "in the jungle", "fruit and nuts", "climbs tall trees"),
    "mouse": ("animal", "tiny", "grey", "in a hole", "cheese and seeds", "hides from cats"),
    "octopus": ("sea animal", "large", "red", "in the sea", "crabs", "swims with eight arms"),
    "owl": ("bird", "small", "brown", "in old trees", "mice", "sees well in the dark"),
    "parrot": ("bird", "small", "green", "in the jungle", "nuts and seeds", "learns to say words"),
    "penguin": ("bird", "small", "black", "on the ice", "fish", "swims but cannot fly"),
    "pig": ("farm animal", "large", "pink", "on a farm", "corn and apples", "rolls in the mud"),
    "rabbit": ("animal", "small", "white", "in a hole", "carrots and grass", "hops on long legs"),
    "robin": ("bird", "tiny", "red", "in the garden", "worms", "sings in the morning"),
    "salmon": ("fish", "small", "pink", "in cold rivers", "small fish", "swims up the river"),
    "shark": ("fish", "huge", "grey", "in the sea", "fish and seals", "swims very fast"),
    "sheep": ("farm animal", "large", "white", "on a farm", "grass", "gives us wool"),
    "snail": ("animal", "tiny", "brown", "in the garden", "leaves", "carries its own house"),
    "snake": ("reptile", "small", "green", "under the rocks", "mice and eggs", "moves without legs"),
    "spider": ("animal", "tiny", "black", "in a web", "flies", "catches insects in its web"),
    "squirrel": ("animal", "small", "red", "in tall trees", "nuts", "hides food for the winter"),
    "swan": ("bird", "large", "white", "on the lake", "water plants", "swims in a quiet way"),
    "tiger": ("wild cat", "huge", "orange", "in the jungle", "meat", "hunts alone"),
    "turtle": ("reptile", "small", "green", "near the sea", "water plants", "carries a hard shell"),
    "whale": ("sea animal", "huge", "blue", "in the sea", "tiny fish", "sings under the water"),
    "wolf": ("animal", "large", "grey", "in the mountains", "deer and rabbits", "howls at the moon"),
    "zebra": ("animal", "large", "white", "on the grassy plains", "grass", "has black stripes"),
}

# name: (kind, material, use, place)
OBJECTS: dict[str, tuple[str, str, str, str]] = {
    "axe": ("tool", "steel and wood", "cutting wood", "in the shed"),
    "basket": ("container", "straw", "carrying fruit", "in the kitchen"),
    "bed": ("piece of furniture", "wood", "sleeping at night", "in the bedroom"),
    "bell": ("instrument", "metal", "calling people", "at the school"),
    "blanket": ("cover", "wool", "keeping warm", "on the bed"),
    "bottle": ("container", "glass", "holding water", "in the kitchen"),
    "broom": ("tool", "wood and straw", "sweeping the floor", "behind the door"),
    "brush": ("tool", "wood and hair", "painting walls", "in the shed"),
    "bucket": ("container", "metal", "carrying water", "in the garden"),
    "candle": ("light", "wax", "giving light", "on the table"),
    "chair": ("piece of furniture", "wood", "sitting at the table", "in the kitchen"),
    "clock": ("machine", "metal and glass", "telling the time", "on the wall"),
    "coat": ("piece of clothing", "wool", "keeping warm in winter", "behind the door"),
    "comb": ("tool", "plastic", "tidying your hair", "in the bathroom"),
    "cup": ("container", "clay", "drinking tea", "in the kitchen"),
    "drum": ("instrument", "wood and skin", "playing music", "at the school"),
    "fork": ("tool", "metal", "eating dinner", "in the kitchen"),
    "glove": ("piece of clothing", "wool", "keeping your hand warm", "in a pocket"),
    "hammer": ("tool", "steel and wood", "hitting nails", "in the shed"),
    "kettle": ("container", "metal", "boiling water", "in the kitchen"),
    "key": ("tool", "metal", "opening a door", "in a pocket"),
    "knife": ("tool", "steel", "cutting bread", "in the kitchen"),
    "ladder": ("tool", "wood", "reaching high places", "in the shed"),
    "lamp": ("light", "metal and glass", "reading at night", "on the desk"),
    "map": ("picture", "paper", "finding the way", "in a bag"),
    "mirror": ("piece of furniture", "glass", "seeing your face", "in the bathroom"),
    "needle": ("tool", "steel", "sewing clothes", "in a small box"),
    "oven": ("machine", "metal and glass", "baking bread", "in the kitchen"),
    "pan": ("container", "metal", "frying eggs", "in the kitchen"),
    "pen": ("tool", "plastic", "writing letters", "on the desk"),
    "pencil": ("tool", "wood", "drawing pictures", "on the desk"),
    "pillow": ("cover", "cotton and feathers", "resting your head", "on the bed"),
    "purse": ("container", "leather", "holding money", "in a bag"),
    "rope": ("tool", "cotton", "tying a boat", "in the shed"),
    "ruler": ("tool", "plastic", "measuring lines", "on the desk"),
    "saw": ("tool", "steel and wood", "cutting branches", "in the shed"),
    "scarf": ("piece of clothing", "wool", "keeping your neck warm", "behind the door"),
    "shovel": ("tool", "steel and wood", "digging holes", "in the garden"),
    "soap": ("bar", "oil", "washing your hands", "in the bathroom"),
    "spoon": ("tool", "metal", "eating soup", "in the kitchen"),
    "tent": ("shelter", "cotton", "sleeping outside", "in the camp"),
    "towel": ("cover", "cotton", "drying your hands", "in the bathroom"),
    "umbrella": ("cover", "cotton and metal", "staying dry in the rain", "behind the door"),
    "vase": ("container", "glass", "holding flowers", "on the table"),
    "whistle": ("instrument", "metal", "calling a dog", "in a pocket"),
}

# plural name of a category: (singular, members)
CATEGORIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "fruits": ("fruit", ("apple", "banana", "cherry", "fig", "grape", "lemon", "mango", "orange", "peach", "pear", "plum")),
    "vegetables": ("vegetable", ("bean", "cabbage", "carrot", "leek", "onion", "pea", "potato", "pumpkin", "turnip")),
    "drinks": ("drink", ("coffee", "juice", "milk", "tea", "water", "lemonade")),
    "trees": ("tree", ("birch", "elm", "maple", "oak", "palm", "pine", "willow")),
    "flowers": ("flower", ("daisy", "lily", "poppy", "rose", "sunflower", "tulip", "violet")),
    "vehicles": ("vehicle", ("bicycle", "boat", "bus", "car", "lorry", "plane", "train", "tram")),
    "colours": ("colour", ("black", "blue", "brown", "green", "orange", "pink", "red", "white", "yellow")),
    "instruments": ("musical instrument", ("cello", "flute", "guitar", "harp", "piano", "trumpet", "violin")),
    "sports": ("sport", ("boxing", "football", "golf", "hockey", "rugby", "skiing", "tennis")),
    "jobs": ("job", ("baker", "doctor", "driver", "farmer", "nurse", "painter", "sailor", "teacher")),
    "metals": ("metal", ("copper", "gold", "iron", "lead", "silver", "tin")),
    "shapes": ("shape", ("circle", "cube", "oval", "square", "star", "triangle")),
    "meals": ("meal", ("breakfast", "dinner", "lunch", "supper")),
    "rooms": ("room", ("bathroom", "bedroom", "cellar", "hall", "kitchen", "office")),
    "seasons": ("season", ("autumn", "spring", "summer", "winter")),
    "toys": ("toy", ("ball", "doll", "kite", "marble", "puzzle", "robot", "teddy bear")),
    "pieces of clothing": ("piece of clothing", ("coat", "dress", "glove", "hat", "scarf", "shirt", "skirt", "sock")),
    "birds": ("bird", ("crow", "duck", "eagle", "goose", "owl", "parrot", "penguin", "robin", "swan")),
    "farm animals": ("farm animal", ("cow", "donkey", "goat", "horse", "pig", "sheep")),
    "tools": ("tool", ("axe", "broom", "hammer", "ladder", "saw", "shovel", "needle")),
}
MASS = frozenset(
    "coffee juice milk tea water lemonade boxing football golf hockey rugby skiing tennis copper gold iron lead silver"
    " tin breakfast dinner lunch supper autumn spring summer winter black blue brown green orange pink red white"
    " yellow".split()
)
"""Members named without an article ("milk is a drink"); `orange` the fruit is never asked about."""

# thing: colour
COLOURS: dict[str, str] = {
    "banana": "yellow", "blood": "red", "blueberry": "blue", "brick": "red", "broccoli": "green", "butter": "yellow",
    "carrot": "orange", "cherry": "red", "chocolate": "brown", "cloud": "white", "coal": "black", "corn": "yellow",
    "cucumber": "green", "daisy": "white", "egg yolk": "yellow", "grass": "green", "ink": "black", "lemon": "yellow",
    "lettuce": "green", "lime": "green", "milk": "white", "mud": "brown", "pea": "green", "pepper": "black",
    "pumpkin": "orange", "rice": "white", "ruby": "red", "salt": "white", "sand": "yellow", "sky": "blue",
    "snow": "white", "strawberry": "red", "sugar": "white", "sunflower": "yellow", "tar": "black", "tomato": "red",
    "the sea": "blue", "tree bark": "brown", "violet": "purple", "plum": "purple",
}
MASS_THINGS = frozenset(
    "blood broccoli butter chocolate coal corn grass ink lettuce milk mud pepper rice salt sand snow sugar tar".split()
    + ["the sea", "tree bark"]
)

OPPOSITES: tuple[tuple[str, str], ...] = tuple(
    tuple(pair.split("/"))  # type: ignore[misc]
    for pair in (
        "hot/cold big/small fast/slow tall/short happy/sad old/young dark/light hard/soft wet/dry full/empty"
        " rich/poor loud/quiet clean/dirty early/late near/far open/closed strong/weak thick/thin wide/narrow"
        " heavy/weightless brave/cowardly sweet/sour right/wrong up/down inside/outside day/night love/hate"
        " win/lose begin/end give/take push/pull buy/sell laugh/cry question/answer friend/enemy north/south"
        " east/west top/bottom always/never before/after above/below true/false cheap/expensive safe/dangerous"
        " easy/difficult kind/cruel smooth/rough awake/asleep"
    ).split()
)

PLURALS: dict[str, str] = dict(
    pair.split("/")  # type: ignore[misc]
    for pair in (
        "leaf/leaves child/children foot/feet tooth/teeth mouse/mice goose/geese man/men woman/women wolf/wolves"
        " knife/knives loaf/loaves shelf/shelves wife/wives life/lives baby/babies city/cities lady/ladies"
        " story/stories berry/berries party/parties cherry/cherries daisy/daisies box/boxes bus/buses fox/foxes"
        " dish/dishes glass/glasses brush/brushes bench/benches match/matches church/churches potato/potatoes"
        " tomato/tomatoes hero/heroes cat/cats dog/dogs house/houses apple/apples book/books key/keys boy/boys scarf/scarves"
        " toy/toys window/windows river/rivers spoon/spoons chair/chairs garden/gardens letter/letters"
    ).split()
)

# base: (third person, past, complements)
VERBS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bake": ("bakes", "baked", ("bread in the morning", "a cake for the party")),
    "bring": ("brings", "brought", ("flowers to the teacher", "fresh milk to the house")),
    "build": ("builds", "built", ("a wall of stone", "a small boat")),
    "buy": ("buys", "bought", ("apples at the market", "a new hat")),
    "carry": ("carries", "carried", ("the bags up the stairs", "wood to the house")),
    "catch": ("catches", "caught", ("the early train", "a fish in the river")),
    "clean": ("cleans", "cleaned", ("the windows", "the kitchen floor")),
    "climb": ("climbs", "climbed", ("the tall tree", "over the wall")),
    "close": ("closes", "closed", ("the door", "the shop at six")),
    "cook": ("cooks", "cooked", ("soup for dinner", "rice and beans")),
    "cut": ("cuts", "cut", ("the bread", "the grass")),
    "dance": ("dances", "danced", ("in the hall", "to the music")),
    "dig": ("digs", "dug", ("a hole in the garden", "in the sand")),
    "draw": ("draws", "drew", ("a picture of a horse", "a map of the town")),
    "drink": ("drinks", "drank", ("a glass of milk", "tea with lemon")),
    "drive": ("drives", "drove", ("the bus to town", "an old car")),
    "eat": ("eats", "ate", ("breakfast in bed", "an apple under the tree")),
    "feed": ("feeds", "fed", ("the hens", "the ducks on the pond")),
    "find": ("finds", "found", ("a coin in the street", "shells near the sea")),
    "fly": ("flies", "flew", ("over the hills", "a kite")),
    "forget": ("forgets", "forgot", ("the key", "the name of the street")),
    "give": ("gives", "gave", ("a book to the child", "food to the birds")),
    "grow": ("grows", "grew", ("beans in the garden", "roses by the wall")),
    "help": ("helps", "helped", ("the old lady", "at the farm")),
    "hide": ("hides", "hid", ("behind the door", "the letter in a box")),
    "jump": ("jumps", "jumped", ("over the stream", "into the lake")),
    "keep": ("keeps", "kept", ("bees on the farm", "a secret")),
    "learn": ("learns", "learned", ("a new song", "to swim")),
    "lose": ("loses", "lost", ("a glove in the snow", "the game")),
    "make": ("makes", "made", ("a toy from wood", "lemonade in summer")),
    "paint": ("paints", "painted", ("the fence", "a picture of the sea")),
    "plant": ("plants", "planted", ("a tree in spring", "seeds in a pot")),
    "play": ("plays", "played", ("the piano", "football in the park")),
    "read": ("reads", "read", ("a story to the children", "the newspaper")),
    "ride": ("rides", "rode", ("a bicycle to work", "a horse on the beach")),
    "run": ("runs", "ran", ("across the field", "to the station")),
    "see": ("sees", "saw", ("a ship on the sea", "the moon above the trees")),
    "sell": ("sells", "sold", ("fruit at the market", "old books")),
    "send": ("sends", "sent", ("a letter to a friend", "a card from the city")),
    "sing": ("sings", "sang", ("in the shower", "a song for the baby")),
    "sit": ("sits", "sat", ("by the fire", "on the bench")),
    "sleep": ("sleeps", "slept", ("in a tent", "until noon")),
    "speak": ("speaks", "spoke", ("in a low voice", "to the driver")),
    "swim": ("swims", "swam", ("in the lake", "across the river")),
    "teach": ("teaches", "taught", ("music at the school", "the dog a trick")),
    "tell": ("tells", "told", ("a funny joke", "the truth")),
    "throw": ("throws", "threw", ("the ball over the fence", "stones into the pond")),
    "wait": ("waits", "waited", ("for the bus", "at the gate")),
    "walk": ("walks", "walked", ("along the river", "home in the rain")),
    "wash": ("washes", "washed", ("the dishes", "the car on Sunday")),
    "wear": ("wears", "wore", ("a red coat", "a hat in the sun")),
    "write": ("writes", "wrote", ("a letter to the king", "a short poem")),
}
SUBJECTS = (
    "the old man", "the girl", "the boy", "my sister", "my brother", "our neighbour", "the teacher", "the farmer",
    "the doctor", "the baker", "my uncle", "my aunt", "the sailor", "the queen", "the young woman", "the painter",
)

# what happens to "{name}", by the mood it leaves
MOODS: dict[str, tuple[str, ...]] = {
    "happy": (
        "won the race and danced with joy", "got a puppy for a birthday present", "laughed at the funny clown",
        "found the lost ring at last", "ate ice cream with good friends", "heard the good news and smiled",
        "sang a merry song in the sun", "passed the test with top marks", "hugged a dear friend at the station",
        "got a warm letter from grandmother", "had a wonderful day at the beach", "built a snowman and cheered",
        "saw the first flowers of spring", "was given the first prize",
    ),
    "sad": (
        "lost a good friend and cried", "said goodbye to the old house", "missed the last train and wept",
        "broke the favourite cup of the family", "sat alone on a birthday", "heard the bad news and sighed",
        "buried the little bird in the garden", "failed the test again", "watched the ship leave without a wave",
        "got no letter from home all winter", "dropped the ice cream in the sand", "had nobody to play with",
        "lay ill in bed during the party", "saw the old tree fall in the storm",
    ),
    "angry": (
        "shouted at the rude driver", "slammed the door and stamped upstairs", "found the new bicycle scratched",
        "threw the broken phone at the wall", "had a fight about the stolen bag", "yelled at the noisy neighbours",
        "was cheated in the game again", "kicked the table in a rage", "tore up the unfair bill",
        "saw someone cut the queue", "was blamed for a thing done by others", "glared at the boy who lied",
        "complained loudly about the cold soup", "banged a fist on the desk",
    ),
}

# sentence with a gap, word that fills it
GAPS: tuple[tuple[str, str], ...] = (
    ("The bird built a ___ in the tree.", "nest"), ("We watched the stars in the night ___.", "sky"),
    ("He opened the door with a ___.", "key"), ("The bee made sweet ___ in the hive.", "honey"),
    ("She put on her ___ because it was raining.", "boots"), ("The farmer milked the ___ at dawn.", "cow"),
    ("They crossed the river by the stone ___.", "bridge"), ("The baker took the hot ___ out of the oven.", "bread"),
    ("The children built a castle of ___ on the beach.", "sand"), ("The ship sailed across the ___.", "sea"),
    ("The cat chased a ___ around the kitchen.", "mouse"), ("I brush my ___ every morning.", "teeth"),
    ("The train stopped at the ___.", "station"), ("In winter the lake is covered with ___.", "ice"),
    ("The spider caught a fly in its ___.", "web"), ("She cut the paper with a pair of ___.", "scissors"),
    ("The hen laid three ___ in the straw.", "eggs"), ("He read the ___ from the first page to the last.", "book"),
    ("The sun rises in the ___.", "east"), ("The doctor works at the ___.", "hospital"),
    ("The gardener waters the ___ each evening.", "flowers"), ("A week has seven ___.", "days"),
    ("We posted the ___ to our aunt.", "letter"), ("The dog buried a ___ in the garden.", "bone"),
    ("Fish swim in the ___.", "water"), ("The king wore a golden ___.", "crown"),
    ("At night we light a ___ to see.", "candle"), ("The rabbit ate an orange ___.", "carrot"),
    ("She played a tune on the ___.", "piano"), ("He hit the nail with a ___.", "hammer"),
    ("The leaves fall from the trees in ___.", "autumn"), ("The baby drank a bottle of ___.", "milk"),
    ("The teacher wrote on the ___ with chalk.", "board"), ("The pilot landed the ___ in the fog.", "plane"),
    ("They slept in a ___ beside the lake.", "tent"), ("Grandfather sat in his ___ by the fire.", "chair"),
    ("The moon shines at ___.", "night"), ("The sailor tied the boat with a ___.", "rope"),
    ("The ice cream melted in the hot ___.", "sun"), ("Sheep give us warm ___.", "wool"),
)

HOW_TO: dict[str, tuple[str, ...]] = {
    "make a cup of tea": ("boil some water", "put a tea bag in a cup", "pour in the hot water", "wait three minutes"),
    "wash your hands": ("wet your hands", "rub them with soap", "rinse them with clean water", "dry them with a towel"),
    "plant a seed": ("fill a pot with soil", "make a small hole", "drop the seed in the hole", "water it every day"),
    "fry an egg": ("heat some oil in a pan", "break the egg into the pan", "cook it until it is white", "add a little salt"),
    "post a letter": ("put the letter in an envelope", "write the address on it", "add a stamp", "drop it in the box"),
    "make a sandwich": ("take two slices of bread", "spread butter on them", "add cheese and tomato", "press them together"),
    "light a fire": ("lay dry sticks in a ring", "put paper under them", "light the paper with a match", "add bigger logs"),
    "paint a wall": ("clean the wall", "cover the floor", "brush on the paint", "let it dry for a day"),
    "brush your teeth": ("put toothpaste on the brush", "brush for two minutes", "spit it out", "rinse your mouth"),
    "cook rice": ("wash the rice", "put it in a pot with water", "boil it for ten minutes", "let it rest with the lid on"),
    "wrap a present": ("cut a piece of paper", "fold it around the box", "tape the edges", "tie a ribbon on top"),
    "catch a fish": ("put a worm on the hook", "throw the line into the water", "wait in silence", "pull when it moves"),
    "mend a sock": ("find a needle and thread", "turn the sock inside out", "sew the hole shut", "cut the thread"),
    "build a snowman": ("roll a big ball of snow", "put a smaller ball on top", "add a carrot nose", "give it a hat"),
    "bake a cake": ("mix flour, eggs and sugar", "pour it into a tin", "bake it for an hour", "let it cool"),
    "clean a window": ("fill a bucket with warm water", "wash the glass with a sponge", "wipe it", "polish it with paper"),
    "tie a shoe": ("cross the two laces", "pull them tight", "make a loop with each lace", "tie the loops together"),
    "borrow a book": ("go to the library", "choose a book", "show your card at the desk", "bring it back on time"),
    "make lemonade": ("squeeze four lemons", "add sugar and cold water", "stir it well", "serve it with ice"),
    "wash a dog": ("fill the tub with warm water", "wet the dog", "rub it with soap", "rinse and dry it"),
    "put up a tent": ("find flat ground", "lay out the cloth", "push in the poles", "fix the ropes with pegs"),
    "make soup": ("chop some vegetables", "fry them in a pot", "add water and salt", "cook it for half an hour"),
    "iron a shirt": ("heat the iron", "lay the shirt flat", "press it with slow strokes", "hang it up"),
    "cross the road": ("stop at the edge", "look left and right", "wait until it is clear", "walk across"),
    "fix a flat tyre": ("take off the wheel", "pull out the tube", "patch the hole", "pump it full of air"),
    "make a bed": ("shake the pillow", "pull the sheet tight", "spread the blanket", "fold the top edge down"),
    "grow tomatoes": ("plant the seeds in spring", "keep them in the sun", "tie them to a stick", "pick the red ones"),
    "take a photo": ("clean the lens", "point the camera", "hold it still", "press the button"),
    "set the table": ("lay a clean cloth", "put a plate at each seat", "add knives and forks", "fill the glasses"),
    "make a kite": ("cross two light sticks", "glue paper over them", "add a long tail", "tie on a string"),
    "calm a baby": ("pick the baby up", "rock it gently", "sing a soft song", "lay it in its bed"),
    "boil an egg": ("put the egg in a pot of water", "bring it to the boil", "wait six minutes", "cool it in cold water"),
}

PLACES = (
    "park", "market", "library", "beach", "school", "station", "farm", "museum", "zoo", "lake", "bakery", "castle",
    "harbour", "theatre", "hospital", "village",
)
SCENES = (
    "river", "bridge", "tree", "fence", "barn", "hill", "lake", "wall", "gate", "pond", "road", "field", "garden",
    "house", "rock", "boat",
)
GIFTS = (
    "book", "kite", "scarf", "cake", "lamp", "painting", "puzzle", "vase", "drum", "clock", "blanket", "guitar",
    "basket of fruit", "bunch of roses", "box of chocolates", "warm hat", "toy boat", "football", "map", "teapot",
)
SHOPPING = (
    "red hat", "loaf of bread", "bag of apples", "new lamp", "blue kite", "small drum", "pair of gloves", "toy train",
    "bunch of tulips", "jar of honey", "green umbrella", "wooden spoon", "silver ring", "box of pencils",
)
LIST_WORDS = (
    "apple", "bear", "cup", "dog", "egg", "fig", "goat", "hat", "ink", "jam", "key", "lamp", "milk", "nut", "owl",
    "pear", "rope", "sun", "tea", "vase", "wolf", "bell", "cake", "drum", "fork", "gold", "hill", "moon", "rain", "star",
)
